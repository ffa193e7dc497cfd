import pytest
from release import index
from release.shell import Exit

LOOPBACK = "http://127.0.0.1:1/"


@pytest.fixture
def built(tree):
    for name in ("alpha-0.2.0-py3-none-any.whl", "alpha-0.2.0.tar.gz"):
        tree.write(f"dist/alpha/{name}", "")
    return tree


@pytest.mark.parametrize("arguments", [[], ["--publish-url", "https://index.example.org/"]])
def test_a_real_index_is_refused_outside_ci(built, run, arguments):
    outcome = run("release", "publish", "alpha", *arguments)
    assert outcome.code == Exit.REFUSED
    assert "is uploaded to from CI alone" in outcome.last
    assert "uv publish" not in outcome.err


@pytest.mark.parametrize("trick", ["http://127.0.0.1.example.org/", "http://x@example.org/#127.0.0.1", "127.0.0.1"])
def test_an_address_that_only_looks_local_is_a_real_one(trick):
    assert not index.allowed(trick)


@pytest.mark.parametrize("address", [LOOPBACK, "http://localhost:8080/", "http://[::1]:8080/"])
def test_this_machine_may_be_uploaded_to(address):
    assert index.allowed(address)


def test_ci_may_upload_with_its_identity(built, run, monkeypatch):
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    outcome = run("release", "publish", "alpha", "--dry-run")
    assert outcome.code == 0
    assert "publish --trusted-publishing always" in outcome.err


def test_nothing_built_is_nothing_published(run):
    outcome = run("release", "publish", "alpha", "--publish-url", LOOPBACK)
    assert outcome.code == Exit.BROKEN
    assert "run `release build` first" in outcome.last
