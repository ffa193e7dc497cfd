import pytest
from release.shell import Exit


def test_a_dry_run_prints_every_step(run, tree):
    before = tree.snapshot()
    outcome = run("release", "check", "alpha", "--python", "3.11", "--dry-run")
    assert outcome.code == 0, outcome.err
    for words in ("twine --no-color check --strict", "check-wheel-contents", "validate-pyproject", "venv", "pip check",
                  "--verifytypes alpha --ignoreexternal", "-I -m pytest"):  # fmt: skip
        assert words in outcome.err
    assert tree.snapshot() == before


def failing(tree):
    tree.edit("packages/alpha/tests/test_alpha.py", "6.0", "7.0")


def untyped(tree):
    tree.edit("packages/alpha/src/alpha/_scale.py", "value: float, factor: float = 2.0) -> float", "value, factor=2.0)")


def undeclared(tree):
    tree.edit("packages/alpha/src/alpha/_scale.py", '"""Scale."""', '"""Scale."""\nimport numpy')


def relative_link(tree):
    tree.edit("packages/alpha/README.md", "(https://example.org)", "(../../docs/index.md)")


def as_it_is(tree):
    del tree


@pytest.mark.slow
@pytest.mark.parametrize(
    ("prepare", "code"),
    [
        (as_it_is, 0),
        (failing, Exit.REFUSED),
        (untyped, Exit.REFUSED),
        (undeclared, Exit.REFUSED),
        (relative_link, Exit.REFUSED),
    ],
)
def test_a_package_is_judged_as_strangers_get_it(tree, run, prepare, code):
    prepare(tree)
    tree.commit()
    outcome = run("release", "check", "alpha", "--python", "3.11")
    assert outcome.code == code, outcome.err
    assert tree.repository.changes() == []
