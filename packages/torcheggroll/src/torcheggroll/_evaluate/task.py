"""Tasks: the computation that each member performs, and its data."""

from collections.abc import Callable, Hashable, Mapping
from typing import Any, NamedTuple

from torch import Tensor, nn

from .tree import map_tensors, tensors_of


class Task(NamedTuple):
    """The computation for each member: ``finish(forward(data), data)``, either of which may be missing."""

    forward: Callable[[list[Any]], Any] | None  # the member's own data to the model's outputs
    finish: Callable[[Any, list[Any]], Any] | None  # outputs and own data to the result
    data: list[Any]  # tensors with the members in front; the member gets its slice of each
    shared: list[Tensor] = []  # tensors of the caller that all members are given  # noqa: RUF012
    kind: Hashable = None  # tasks of one kind go to one engine
    key: int | None = None  # of the random numbers that all members draw; None leaves the caller's streams alone

    def call(self, data: list[Any]) -> Any:
        """Does it for one member, from its own data, on the perturbed model."""
        outputs = None if self.forward is None else self.forward(data)
        return outputs if self.finish is None else self.finish(outputs, data)

    def of(self, first: int, last: int) -> "Task":
        """Asks only some of the members, ``first`` to ``last - 1``."""
        return self._replace(data=[value[first:last] for value in self.data])


class MemberData:
    """A tree that all members share, or of which each has its own slice.

    Args:
        tree: of any structure.
        own: the members of this process, or None for a shared tree.
        population: members of all processes; a tree may hold slices for all of them.
        name: for messages.

    Raises:
        ValueError: a tensor has not the members in front.
    """

    def __init__(self, tree: Any, own: range | None, population: int, name: str) -> None:
        self._tree = tree
        self.tensors: list[Tensor] = []
        self.shared: list[Tensor] = []
        if own is None:
            self.shared = tensors_of(tree)
            return
        self.tensors = tensors_of(tree)
        if len(own) < population and all(t.dim() and t.shape[0] == len(own) for t in self.tensors):
            return
        for tensor in self.tensors:
            if tensor.dim() == 0 or tensor.shape[0] != population:
                raise ValueError(
                    f"per-member {name} must have the population, {population}, in front, got shape "
                    f"{tuple(tensor.shape)}; stack one slice per member, or share it with per_member=False"
                )
        self.tensors = [t[own.start : own.stop] for t in self.tensors]

    def fill(self, slices: list[Tensor]) -> Any:
        """Returns the tree of one member, from its slices."""
        return refill(self._tree, slices) if self.tensors else self._tree


def refill(tree: Any, tensors: list[Tensor]) -> Any:
    """Returns ``tree`` with its tensors replaced."""
    given = iter(tensors)
    return map_tensors(lambda _: next(given), tree)


def sliced_parts(per_member: bool | str) -> tuple[bool, bool]:
    """Returns whether inputs, and whether targets, have one slice per member.

    Raises:
        ValueError: ``per_member`` is not one of its four values.
    """
    if per_member not in (True, False, "inputs", "targets"):
        raise ValueError(f"per_member must be True, False, 'inputs' or 'targets', got {per_member!r}")
    return per_member in (True, "inputs"), per_member in (True, "targets")


def fitness_task(measure: Callable[[], Any]) -> Task:
    """Asks of each member what ``measure()`` finds."""

    def finish(_: Any, __: list[Any]) -> Any:
        return measure()

    return Task(None, finish, [])


def output_task(call: Callable[[Any], Any], inputs: MemberData) -> Task:
    """Asks each member for its outputs."""

    def forward(data: list[Any]) -> Any:
        return call(inputs.fill(data))

    return Task(forward, None, inputs.tensors, inputs.shared, "outputs")


def loss_task(
    call: Callable[[Any], Any], inputs: MemberData, loss_fn: Callable[[Any, Any], Any], targets: MemberData
) -> Task:
    """Asks each member for the negative loss of its outputs."""
    width = len(inputs.tensors)

    def forward(data: list[Any]) -> Any:
        return call(inputs.fill(data[:width]))

    def finish(outputs: Any, data: list[Any]) -> Any:
        return -loss_fn(outputs, targets.fill(data[width:]))

    data, shared = [*inputs.tensors, *targets.tensors], [*inputs.shared, *targets.shared]
    return Task(forward, finish, data, shared, ("loss", code_of(loss_fn)))


def code_of(function: Callable[..., Any]) -> Hashable:
    """Returns a key that differs between functions but not between instances of one lambda."""
    return getattr(function, "__code__", None) or getattr(function, "__qualname__", type(function).__qualname__)


def call_model(model: nn.Module, inputs: Any) -> Any:
    """Calls the model: a tuple holds its arguments, a dictionary its named ones."""
    if isinstance(inputs, Mapping):
        return model(**inputs)
    return model(*inputs) if isinstance(inputs, tuple) else model(inputs)
