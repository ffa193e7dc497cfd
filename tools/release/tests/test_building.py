import zipfile

import pytest
from release import build
from release.shell import Exit, Refusal, Shell, program
from release.workspace import Repository, Workspace


def test_a_wheel_and_an_sdist_are_left_and_nothing_in_the_tree(template, built):
    assert sorted(path.name for path in built.wheel.parent.iterdir()) == [built.wheel.name, built.sdist.name]
    assert (built.wheel.name, built.sdist.name) == ("alpha-0.2.0-py3-none-any.whl", "alpha-0.2.0.tar.gz")
    assert Repository(Shell(template)).changes() == []
    assert build.built(built.wheel.parent) == built


def test_hatchling_and_twine_agree_on_the_metadata_version(template, built):
    assert build.metadata_faults(built.wheel, Workspace(template).package("alpha")) == []
    assert Shell(template).run_status(program("twine"), "--no-color", "check", "--strict", *built) == 0


def test_an_untracked_file_in_the_wheel_is_refused(tree, run):
    tree.write("packages/alpha/src/alpha/scratch.txt", "x")
    outcome = run("release", "build", "alpha")
    assert outcome.code == Exit.REFUSED
    assert not (tree.root / "dist").exists()


def test_a_dry_run_builds_nothing(tree, run):
    outcome = run("release", "build", "alpha", "--dry-run")
    assert outcome.code == 0
    assert "--package alpha" in outcome.err
    assert not (tree.root / "dist").exists()


def test_files_that_were_not_built_are_not_published(tree):
    with pytest.raises(Refusal, match="run `release build` first"):
        build.built(tree.root / "dist" / "alpha")


def test_uv_is_told_the_date_everywhere(tree):
    assert build.uv_settings(tree.workspace)["UV_EXCLUDE_NEWER"] == "2026-11-14T00:00:00Z"
    tree.edit("pyproject.toml", 'exclude-newer = "2026-11-14T00:00:00Z"', 'no-build-package = ["torch", "numpy"]')
    assert build.uv_settings(tree.workspace) == {
        "UV_PYTHON_DOWNLOADS": "never",
        "UV_NO_BUILD_PACKAGE": "torch numpy",
    }


def test_two_files_that_differ_are_refused(tmp_path, capfd):
    for place, text in (("one", "a"), ("two", "b")):
        (tmp_path / place).mkdir()
        (tmp_path / place / "x.tar.gz").write_text("same")
        with zipfile.ZipFile(tmp_path / place / "x.whl", "w") as archive:
            archive.writestr("x.py", text)
    with pytest.raises(Refusal) as refusal:
        build.refuse_different(tmp_path / "one", tmp_path / "two")
    assert refusal.value.code == Exit.REFUSED
    assert "x.whl differs" in str(refusal.value)
    assert capfd.readouterr().err.count("sha256") == 1
