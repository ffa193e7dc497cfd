"""Which path a piece of work takes."""

from collections.abc import Callable

from thermolion._draws import Draws
from thermolion._foreach import step_foreach
from thermolion._reference import step_reference
from thermolion._work import Work

Path = Callable[[Work, Draws], None]


def path_of(work: Work) -> Path:
    """Return the path that the group's flags ask for, or the one that measured fastest."""
    group = work.group
    if group["foreach"]:
        return step_foreach
    return step_reference
