import pytest
from release import rules
from release.workspace import Workspace


def test_a_dry_run_prints_every_command(run):
    lines = run("check", "--dry-run").err
    for words in (
        "$ ruff check .",
        "$ ruff format --check .",
        "$ mypy packages/alpha/src",
        "$ pyright",
        "$ validate-pyproject packages/alpha/pyproject.toml",
        "$ zizmor --offline --persona=pedantic",
        "$ check-jsonschema --builtin-schema vendor.github-workflows",
        "$ check-jsonschema --builtin-schema vendor.dependabot",
        "$ check --only boundaries",
        "$ check --only same-checks",
        "$ check --only clean-files",
        "$ check --only pinned-actions",
        "$ check --only changelogs",
    ):
        assert words in lines


def test_all_rules_run_and_the_last_line_names_those_that_failed(tree, run):
    tree.write("packages/alpha/CHANGELOG.md", "# Changelog\n")
    tree.write("packages/alpha/src/alpha/x.py", "import alphabeta\n")
    outcome = run("check", "--only", "boundaries", "--only", "changelogs", "--only", "same")
    assert outcome.code == 1
    assert outcome.last.startswith("check: 2 of the checks found faults: boundaries, changelogs")


@pytest.mark.parametrize("rule", rules.RULES, ids=lambda rule: rule.__name__)
def test_each_rule_says_what_it_holds(rule):
    assert rule.__doc__


def test_workflows_and_projects_of_this_workspace_are_all_covered(repository_root):
    said = [" ".join(map(str, command)) for command in rules.commands(Workspace(repository_root))]
    for path in repository_root.glob(".github/workflows/*"):
        assert any(path.name in line for line in said)
    for path in repository_root.glob("packages/*/pyproject.toml"):
        assert any(f"{path.parent.name}/pyproject.toml" in line for line in said)
