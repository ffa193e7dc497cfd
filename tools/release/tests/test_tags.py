import pytest
from packaging.version import Version
from release import workspace
from release.shell import Exit, Refusal


@pytest.mark.parametrize(
    ("tag", "name", "version"),
    [
        ("alpha-v0.2.0", "alpha", "0.2.0"),
        ("alpha-beta-v1.1.0", "alpha-beta", "1.1.0"),
        ("alpha-v1!2.0rc1", "alpha", "1!2.0rc1"),
        ("alpha-v0.3.0.post1", "alpha", "0.3.0.post1"),
    ],
)
def test_a_tag_names_one_package_and_one_version(tree, tag, name, version):
    member, found = workspace.parse_tag(tag, tree.workspace)
    assert (member.name, found) == (name, Version(version))


@pytest.mark.parametrize(
    ("tag", "code"),
    [
        ("v0.2.0", Exit.REFUSED),
        ("alpha-0.2.0", Exit.REFUSED),
        ("alpha-v", Exit.REFUSED),
        ("alpha-vnext", Exit.REFUSED),
        ("alpha-v0.2.0-rc1", Exit.REFUSED),
        ("alpha-v00.2.0", Exit.REFUSED),
        ("alpha-gamma-v0.2.0", Exit.REFUSED),
        ("Alpha-v0.2.0", Exit.REFUSED),
        ("kit-v0.0.0", Exit.REFUSED),
    ],
)
def test_any_other_tag_is_refused(tree, tag, code):
    with pytest.raises(Refusal) as refusal:
        workspace.parse_tag(tag, tree.workspace)
    assert refusal.value.code == code


def test_the_longest_name_wins_where_one_is_the_beginning_of_the_other(tree):
    root = tree.root / "packages" / "alpha"
    config = (root / "pyproject.toml").read_text()
    tree.write("packages/alpha-v1/pyproject.toml", config.replace('name = "alpha"', 'name = "alpha-v1"'))
    assert workspace.parse_tag("alpha-v1-v2.0", tree.workspace)[0].name == "alpha-v1"


def test_released_versions_are_sorted_as_versions_and_belong_to_one_package(tree):
    known = ["alpha-v0.10.0", "alpha-v0.9.0", "alpha-v0.10.0rc1", "alpha-beta-v9.0", "other", "alpha-vx"]
    found = workspace.released(tree.workspace.package("alpha"), known, tree.workspace)
    assert [*found.values()] == ["alpha-v0.9.0", "alpha-v0.10.0rc1", "alpha-v0.10.0"]
