import pytest
from packaging.version import Version
from release import plan

INIT = "from pkg._a import A, f\n__all__ = ['A', 'f']\n"
BODY = """
class A:
    def __init__(self, lr: float = 0.1, *, eps: float = 1e-8) -> None: ...
    def step(self) -> None: ...
    def _private(self) -> None: ...

def f(x: int) -> int: ...
def helper() -> None: ...
"""


def lay(folder, body, init=INIT):
    (folder / "pkg").mkdir(parents=True)
    (folder / "pkg" / "__init__.py").write_text(init)
    (folder / "pkg" / "_a.py").write_text(body)
    return folder


@pytest.mark.parametrize(
    ("old", "new", "broken"),
    [
        ("", "", False),
        ("lr: float", "rate: float", True),
        ("lr: float = 0.1", "lr: float = 0.2", True),
        ("lr: float = 0.1, *,", "lr: float = 0.1, *, extra: int = 0,", False),
        ("(self, lr: float = 0.1, *, eps", "(self, eps", True),
        ("    def step(self) -> None: ...\n", "", True),
        ("x: int)", "x: int, y: int)", True),
        ("_private", "_other", False),
        ("helper", "other_helper", False),
    ],
)
def test_only_what_users_can_reach_may_break(tmp_path, old, new, broken):
    before = lay(tmp_path / "old", BODY)
    after = lay(tmp_path / "new", BODY.replace(old, new) if old else BODY)
    assert bool(plan.api_breaks("pkg", before, after)) is broken


def test_a_name_that_is_no_longer_exported_is_a_break(tmp_path):
    before = lay(tmp_path / "old", BODY)
    after = lay(tmp_path / "new", BODY, "from pkg._a import A\n__all__ = ['A']\n")
    (line,) = plan.api_breaks("pkg", before, after)
    assert "pkg" in line
    assert "\n" not in line


@pytest.mark.parametrize(
    ("old", "new", "size", "may_break"),
    [
        ("0.2.0", "0.2.1", "patch", False),
        ("0.2.0", "0.3.0", "minor", True),
        ("0.2.0", "1.0.0", "major", True),
        ("1.1.0", "1.1.1", "patch", False),
        ("1.1.0", "1.2.0", "minor", False),
        ("1.1.0", "2.0.0", "major", True),
        ("0.2.0", "0.3.0rc1", "minor", True),
        ("1.0.0rc1", "1.0.0", "pre", False),
    ],
)
def test_the_size_of_a_step_says_whether_it_may_break(old, new, size, may_break):
    assert plan.size(Version(old), Version(new)) == size
    assert plan.allows_breaks(Version(old), Version(new)) is may_break
