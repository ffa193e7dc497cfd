import json
import subprocess

import pytest
from release.plan import affected

BOTH = ["alpha", "alpha-beta"]


@pytest.mark.parametrize(
    ("paths", "names"),
    [
        ([], []),
        (["docs/index.md"], []),
        (["packages/alpha/src/alpha/_scale.py"], ["alpha"]),
        (["packages/alpha/README.md", "docs/index.md"], ["alpha"]),
        (["packages/alpha-beta/tests/test_alphabeta.py"], ["alpha-beta"]),
        (["packages/alpha-beta/x", "packages/alpha/x"], BOTH),
        (["tools/kit/src/kit/__init__.py"], BOTH),
        (["pyproject.toml"], BOTH),
        ([".github/workflows/ci.yml"], BOTH),
        (["README.md"], BOTH),
        (["documents/x.md"], BOTH),
        (["packages/gone/src/gone/__init__.py"], BOTH),
        (["packages/README.md"], BOTH),
        (["packages/alpha"], BOTH),
        (["packages/alpha/a", "tools/kit/b"], BOTH),
    ],
)
def test_paths_map_to_packages(tree, paths, names):
    assert affected(paths, tree.workspace) == names


def branch(tree):
    tree.git("switch", "--quiet", "--create", "topic")


def test_a_change_on_a_branch_counts_and_what_main_did_since_does_not(tree, run):
    branch(tree)
    tree.edit("packages/alpha/src/alpha/_scale.py", "2.0", "3.0")
    tree.commit()
    tree.git("switch", "--quiet", "main")
    tree.edit("packages/alpha-beta/src/alphabeta/_scale.py", "2.0", "3.0")
    tree.commit()
    tree.git("switch", "--quiet", "topic")
    assert run("affected", "--base", "main").out == "alpha\n"


def test_a_rename_from_one_package_to_another_touches_both(tree, run):
    branch(tree)
    tree.git("mv", "packages/alpha/src/alpha/_scale.py", "packages/alpha-beta/src/alphabeta/_moved.py")
    tree.commit()
    assert json.loads(run("affected", "--json").out) == BOTH


def test_a_rename_out_of_docs_touches_what_it_reaches(tree, run):
    branch(tree)
    tree.git("mv", "docs/index.md", "packages/alpha/guide.md")
    tree.commit()
    assert json.loads(run("affected", "--json").out) == ["alpha"]


def test_a_deletion_touches_its_package(tree, run):
    branch(tree)
    tree.git("rm", "--quiet", "packages/alpha-beta/src/alphabeta/_scale.py")
    tree.commit()
    assert json.loads(run("affected", "--json").out) == ["alpha-beta"]


def test_deleting_a_whole_package_touches_all_that_remain(tree, run):
    branch(tree)
    tree.git("rm", "--quiet", "-r", "packages/alpha-beta")
    tree.commit()
    assert json.loads(run("affected", "--json").out) == ["alpha"]


def test_what_is_not_committed_counts_and_so_do_new_files(tree, run):
    tree.edit("packages/alpha/src/alpha/_scale.py", "2.0", "3.0")
    assert run("affected").out == "alpha\n"
    tree.write("packages/alpha-beta/src/alphabeta/new.py", "")
    assert json.loads(run("affected", "--json").out) == BOTH


def test_a_name_with_blanks_and_accents_is_read_whole(tree, run):
    branch(tree)
    tree.write("packages/alpha/tests/données de test.txt", "x")
    tree.commit()
    assert json.loads(run("affected", "--json").out) == ["alpha"]


def test_nothing_changed_is_nothing_affected(run):
    assert run("affected", "--json").out == "[]\n"
    assert run("affected", "--json", "--all").out == '["alpha", "alpha-beta"]\n'


@pytest.mark.parametrize("base", ["no-such-branch", "0" * 40, "--output=x"])
def test_an_unknown_base_exits_with_2(run, base):
    outcome = run("affected", f"--base={base}")
    assert (outcome.code, outcome.out) == (2, "")
    assert "--base must be a commit of this clone" in outcome.last


def test_a_shallow_clone_without_the_common_commit_exits_with_2(tree, run, tmp_path):
    branch(tree)
    tree.commit("alpha: one")
    tree.commit("alpha: two")
    shallow = tmp_path / "shallow"
    source = tree.root.as_uri()
    subprocess.run(["git", "clone", "-q", "--depth=1", "--branch=topic", source, shallow], check=True)
    subprocess.run(
        ["git", "fetch", "-q", "--depth=1", "origin", "main:refs/remotes/origin/main"], cwd=shallow, check=True
    )
    outcome = run("affected", "--base", "origin/main", where=shallow)
    assert outcome.code == 2
    assert "share no commit" in outcome.last
