import pytest
from release import rules

PIN = "0123456789abcdef0123456789abcdef01234567"


@pytest.mark.parametrize(
    "text",
    [
        "see /" + "root/x",
        'path = "/' + 'work/main"',
        "(/" + "home/jane/quintet)",
        "/" + "Users/jane/x",
        "https://py" + "pi.org/simple",
        "files.python" + "hosted.org",
        "registry.npm" + "js.org",
        "deb.debian" + ".org",
    ],
)
def test_places_of_one_machine_and_registry_hosts_are_found(tmp_path, text):
    (tmp_path / "a.md").write_text(f"one\n{text}\n")
    assert [fault.partition(": ")[0] for fault in rules.file_faults(tmp_path, ["a.md"])] == ["a.md:2"]


@pytest.mark.parametrize(
    "text", ["rework/x", "./wor" + "k/x", "~/wor" + "k/x", "the index", "pypi-thermolion", "a/ro" + "ot/b", "/rootless"]
)
def test_other_words_are_left_alone(tmp_path, text):
    (tmp_path / "a.md").write_text(text)
    assert rules.file_faults(tmp_path, ["a.md"]) == []


@pytest.mark.parametrize("name", ["uv.lock", "packages/a/uv.lock", "package-lock.json"])
def test_lock_files_are_found(tmp_path, name):
    assert rules.file_faults(tmp_path, [name]) == [f"{name}: a lock file stays out of git"]


def test_check_fails_on_a_lock_file_that_is_tracked(tree, run):
    assert run("check", "--only", "clean-files").code == 0
    tree.write("uv.lock", "")
    tree.git("add", "--force", "uv.lock")
    assert run("check", "--only", "clean-files").code == 1


def test_copies_of_the_checks_are_compared_to_the_byte(tree, run):
    assert run("check", "--only", "same-checks").code == 0
    tree.write("packages/alpha-beta/src/alphabeta/_checks.py", '"""Checks."""\n\n')
    outcome = run("check", "--only", "same-checks")
    assert outcome.code == 1
    assert "_checks.py must equal" in outcome.out


@pytest.mark.parametrize(
    ("line", "good"),
    [
        (f"uses: actions/checkout@{PIN} # v7.0.0", True),
        (f"- uses: a/b/c@{PIN} # v1.2", True),
        ("uses: actions/checkout@v7", False),
        (f"uses: actions/checkout@{PIN}", False),
        (f"uses: actions/checkout@{PIN[:-1]} # v7.0.0", False),
        ("uses: docker://alpine:3", False),
    ],
)
def test_actions_are_pinned_with_their_version_beside(line, good):
    assert (rules.unpinned_actions("ci.yml", line) == []) is good
