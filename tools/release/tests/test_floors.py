import pytest
from packaging.version import Version
from release import install
from release.shell import Exit, Refusal

SPLIT = """dependencies = [
    "torch>=2.4; python_version < '3.13'",
    "torch>=2.6; python_version >= '3.13'",
    "numpy~=1.26",
]"""


@pytest.mark.parametrize(("python", "torch"), [("3.11", "2.4"), ("3.12", "2.4"), ("3.13", "2.6"), ("3.14", "2.6")])
def test_the_floor_follows_the_python(tree, python, torch):
    tree.edit("packages/alpha/pyproject.toml", "dependencies = []", SPLIT)
    found = install.lowest(tree.workspace.package("alpha"), python)
    assert found == {"torch": Version(torch), "numpy": Version("1.26")}


def test_a_dependency_without_a_floor_is_refused(tree):
    tree.edit("packages/alpha/pyproject.toml", "dependencies = []", 'dependencies = ["torch<3"]')
    with pytest.raises(Refusal, match="must have a lower bound") as refusal:
        install.lowest(tree.workspace.package("alpha"), "3.11")
    assert refusal.value.code == Exit.REFUSED


def test_what_is_higher_than_declared_is_refused_and_printed(tree, capsys):
    member = tree.workspace.package("alpha")
    install.compare(member, "3.11", {"torch": Version("2.4")}, {"torch": Version("2.4.0+cu121")})
    with pytest.raises(Refusal) as refusal:
        install.compare(member, "3.11", {"torch": Version("2.4")}, {"torch": Version("2.4.1")})
    assert refusal.value.code == Exit.REFUSED
    assert "alpha on Python 3.11: torch 2.4.1, declared >=2.4" in capsys.readouterr().out


@pytest.mark.slow
def test_the_lowest_versions_are_installed_and_tested(tree, run):
    tree.edit("packages/alpha/pyproject.toml", "dependencies = []", 'dependencies = ["packaging>=24.0"]')
    tree.commit()
    outcome = run("release", "floors", "alpha", "--python", "3.11")
    assert outcome.code == 0, outcome.err
    assert outcome.out == "alpha on Python 3.11: packaging 24.0, declared >=24.0\n"
    assert "1 passed" in outcome.err
