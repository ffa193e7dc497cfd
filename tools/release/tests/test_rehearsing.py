import pytest
from release import index
from release.index import loopback
from release.shell import Exit, Refusal, Shell


def test_an_upload_is_taken_refused_again_and_resumed(tree, tmp_path, built, capfd):
    (tmp_path / "index").mkdir()
    shell = Shell(tree.root)
    with loopback(tmp_path / "index", shell) as address:
        index.upload(built, address, shell)
    assert sorted(path.name for path in (tmp_path / "index").iterdir()) == [built.wheel.name, built.sdist.name]
    said = capfd.readouterr().err
    assert "409 Conflict" in said
    assert said.index("a second upload is refused") < said.index("a half-done upload resumes")


def test_an_index_that_takes_a_version_twice_is_found_out(tree, built, monkeypatch):
    monkeypatch.setattr(Shell, "run_status", lambda *_, **__: 0)
    with pytest.raises(Refusal, match="must refuse a second upload"):
        index.upload(built, "http://127.0.0.1:1/", Shell(tree.root))


def test_a_dry_run_prints_every_step(run, tree):
    before = tree.snapshot()
    outcome = run("release", "rehearse", "alpha", "--python", "3.11", "--dry-run")
    assert outcome.code == 0
    for words in ("pypi-server run", "publish --no-attestations --publish-url", "pip install", "-I -m pytest"):
        assert words in outcome.err
    assert tree.snapshot() == before


def test_a_python_that_is_not_there_is_refused_before_anything_runs(run):
    outcome = run("release", "rehearse", "alpha", "--python", "3.99")
    assert outcome.code == Exit.BROKEN
    assert outcome.err.count("\n") == 1


@pytest.mark.slow
def test_a_release_is_rehearsed_to_the_last_step(run):
    outcome = run("release", "rehearse", "alpha", "--python", "3.11")
    assert outcome.code == 0, outcome.err
    assert "alpha 0.2.0 installs by name and passes its tests on Python 3.11" in outcome.err
    assert "1 passed" in outcome.err
