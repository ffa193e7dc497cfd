"""Runs a case through the public API and compares every member with a dense one made by hand."""

import contextlib
import copy
import sys
import warnings
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torcheggroll import TorchEggrollES

from suite.case import Case, first_tensor

_POPULATION = 8


class Verdict(NamedTuple):
    """What a step of a case gave."""

    engine: str
    effect: float  # the largest distance of a member's fitness from the centre's
    error: float  # the largest distance of a member's fitness from the dense member's
    allowed: float
    reasons: list[str]  # warnings about engines
    changed: list[str]  # what was not left as found


def _same(a: Any, b: Any, depth: int = 4) -> bool:
    if isinstance(a, Tensor) or isinstance(b, Tensor):
        alike = isinstance(a, Tensor) and isinstance(b, Tensor) and a.shape == b.shape and a.dtype == b.dtype
        return alike and torch.equal(a.detach().nan_to_num(7.0), b.detach().nan_to_num(7.0))
    if type(a) is not type(b):
        return False
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(_same(x, y, depth) for x, y in zip(a, b, strict=True))
    if isinstance(a, dict):
        return list(a) == list(b) and all(_same(a[k], b[k], depth) for k in a)
    if isinstance(a, bool | int | float | str):
        return a == b
    if hasattr(a, "__dict__") and depth and not isinstance(a, type) and not callable(a):
        return _same(vars(a), vars(b), depth - 1)
    return True


def found(model: nn.Module) -> dict[str, Any]:
    """Copies all that a model holds: parameters, buffers, attributes and flags of every module."""
    held: dict[str, Any] = {}
    for name, module in model.named_modules():
        own = {key: value for key, value in vars(module).items() if key != "_modules" and "hook" not in key}
        if isinstance(module, torch.jit.ScriptModule):
            own = {**dict(module.named_parameters(recurse=False)), "training": module.training}
        for key, value in own.items():
            held[f"{name}.{key}"] = copy.deepcopy(value) if not callable(value) else value
    return held


def differences(model: nn.Module, before: dict[str, Any]) -> list[str]:
    """Lists what a model no longer holds as it did."""
    now = found(model)
    return [key for key in {**before, **now} if key not in now or key not in before or not _same(now[key], before[key])]


def called(model: nn.Module, inputs: Any) -> Any:
    """Calls a copy of the model on a copy of the inputs, and on random numbers of its own."""
    model, inputs = copy.deepcopy(model), copy.deepcopy(inputs)
    with torch.no_grad(), torch.random.fork_rng(), numpy_numbers():
        torch.manual_seed(5)
        if isinstance(inputs, dict):
            return model(**inputs)
        return model(*inputs) if isinstance(inputs, tuple) else model(inputs)


@contextlib.contextmanager
def numpy_numbers():
    """Draws NumPy's numbers from one seed, and leaves its stream as it is found."""
    numpy = sys.modules.get("numpy")
    stream = numpy and numpy.random.get_state()
    try:
        if numpy:
            numpy.random.seed(5)
        yield
    finally:
        if numpy:
            numpy.random.set_state(stream)


def evaluating(model: nn.Module) -> nn.Module:
    """Sets the flag of every module without calling ``eval()``."""
    for module in model.modules():
        module.training = False
    return model


@contextlib.contextmanager
def without_fast_paths():
    """Lets attention of torch take its ordinary path, as evaluation does."""
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)


def dense_fitness(case: Case, model: nn.Module, inputs: Any, targets: Tensor, members: list[dict[str, Tensor]]):
    """Gives the fitness of each member, a copy of the model with weights formed in full; last, that of the centre."""
    scores: list[float] = []
    for own in [*members, {}]:
        member = copy.deepcopy(model)
        with torch.no_grad(), without_fast_paths():
            for name, p in member.named_parameters():
                if name in own:
                    p.copy_(own[name])
            scores.append(-float(case.loss(called(evaluating(member), inputs), targets)))
    return torch.tensor(scores[:-1], dtype=torch.float64), scores[-1]


def evolution(case: Case, model: nn.Module, sigma: float, seen: list[Tensor], **settings: Any) -> TorchEggrollES:
    """Builds an evolution that keeps the fitness of the members and moves nothing."""

    def keep(s: Tensor) -> Tensor:
        seen.append(s.clone())
        return torch.zeros_like(s)

    return TorchEggrollES(
        model, pop_size=_POPULATION, sigma=sigma, lr=0.0, rank=1, seed=3, fitness=keep, **settings,
    )  # fmt: skip


def judge(case: Case, sigma: float) -> Verdict:
    """Takes one step of a case, then one that raises in the loss."""
    sigma = max(sigma, case.least_sigma)
    torch.manual_seed(1)
    model = case.make()
    inputs = case.inputs()
    with without_fast_paths():
        out = called(evaluating(copy.deepcopy(model)), inputs)
        before, plain = found(model), called(model, inputs)
    targets = torch.randn(first_tensor(out).shape)
    given, stream = copy.deepcopy(inputs), torch.random.get_rng_state()
    seen: list[Tensor] = []
    es = evolution(case, model, sigma, seen)
    members = [
        {name: value.clone() for name, value in member.items() if name in es.param_names}
        for member in es.prepare_population()
    ]
    want, centre = dense_fitness(case, model, inputs, targets, members)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        es.step(inputs, case.loss, targets)
        es.load_state_dict({**es.state_dict(), "epoch": 0})
        es.step(inputs, case.loss, targets)
    assert es.diagnostics is not None
    reasons = [str(w.message) for w in caught if "since" in str(w.message) and "torcheggroll" in str(w.message)]
    if case.random:
        loop: list[Tensor] = []
        evolution(case, model, sigma, loop, engine="loop").step(inputs, case.loss, targets)
        want, centre = (loop[0], float(loop[0].mean())) if loop else (torch.zeros(_POPULATION), 0.0)
    got = seen[-1] if seen else torch.full_like(want, es.diagnostics.fitness_mean)
    effect = float((want - centre).abs().max())
    error = float((got - want).abs().max())
    allowed = 0.02 * effect + case.loose * max(1.0, abs(centre))
    with failing_loss():
        es.step(inputs, raising, targets)
    changed = differences(model, before)
    if not _same(inputs, given):
        changed.append("inputs")
    if not torch.equal(stream, torch.random.get_rng_state()):
        changed.append("the global random stream")
    with without_fast_paths():
        if not _same(list(tensors(called(model, inputs))), list(tensors(plain))):
            changed.append("model(x)")
    return Verdict(es.diagnostics.engine, effect, error, allowed, reasons, changed)


def tensors(tree: Any):
    """Walks over the tensors of an output."""
    if isinstance(tree, Tensor):
        yield tree
    elif isinstance(tree, dict | list | tuple):
        for value in tree.values() if isinstance(tree, dict) else tree:
            yield from tensors(value)


def raising(outputs: Any, targets: Any) -> Tensor:
    """Fails, as a loss of the user's may."""
    raise ArithmeticError("a loss that fails")


@contextlib.contextmanager
def failing_loss():
    """Expects the user's own error, whatever engines were tried before."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            yield
        except ArithmeticError:
            return
    raise AssertionError("the error of the loss must reach the caller")
