"""A population evaluated by Ray actors, which receive members as specs and the fitness of all.

    sᵢ = the fitness of member i, measured by its actor; a pair belongs to one actor             (1)
    driver and actors: θ ← update(θ, s)                                                        (2)

An actor starts with a copy of the optimizer and is sent no weights after that: by (2) it stays equal to the driver, as
ranks do. Every ``checksum_every`` generations weights are compared, and an actor that differs is restarted.
"""

import importlib
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, cast

from torch import Tensor, nn

from .._checks import check_integer
from ..generation.rewards import Reward, RewardPool
from ..generation.step import Written, conclude, scored
from ..population import MemberSpec
from .checksum import checksum
from .ranks import Ranks

if TYPE_CHECKING:
    from ..es import TorchEggrollES


class RemoteMembers:
    """Ray actors that evaluate the members of an optimizer; `TorchEggrollES.remote_members` makes it.

    Where an actor is lost, its members are dropped from the generation and another one takes its place.

    Args:
        es: the optimizer of this process.
        actors: how many.
        options: of a Ray actor, such as ``num_gpus`` or ``num_cpus``.

    Raises:
        ImportError: Ray is not installed.
        RuntimeError: ranks share the population already.
    """

    def __init__(self, es: "TorchEggrollES", actors: int, options: dict[str, Any]) -> None:
        check_integer("actors", actors, "[1, inf)")
        if not es.ranks.alone:
            raise RuntimeError(
                "ranks share this population already; use either Ray, with process_group=False, or ranks"
            )
        if es.module_state == "centre":
            raise ValueError("module_state must be 'restore' for remote members, got 'centre'")
        try:
            self._ray: Any = importlib.import_module("ray")
        except ImportError as error:
            raise ImportError('remote members need Ray; pip install "torcheggroll[ray]"') from error
        self.es: TorchEggrollES = es
        self._options = options
        if not self._ray.is_initialized():
            self._ray.init()
        self._actors: list[Any] = self._begin(actors)

    def step(
        self,
        inputs: Any = None,
        loss_fn: Callable[[Any, Any], Any] | None = None,
        targets: Any = None,
        *,
        eval_fn: Callable[[nn.Module], Any] | None = None,
        per_member: bool | str = False,
    ) -> float:
        """Evaluates the population on the actors and moves the weights; see `TorchEggrollES.step`."""
        specs = list(self.es.ask())
        self.es.step_task(inputs, loss_fn, targets, eval_fn, per_member)  # refuses here what can not be evaluated
        found = self._evaluated("measured", specs, inputs, loss_fn, targets, eval_fn, per_member)
        return self._tell(specs, [(share, cast(Tensor, table)) for share, table in found])

    def step_reward(self, prompts: Any, reward: Reward | RewardPool, **settings: Any) -> float:
        """Lets the members write and be scored on the actors, and moves the weights.

        Args:
            prompts: as in `TorchEggrollES.step_reward`.
            reward: called where the text was written. Of a `RewardPool` each actor has its own.
            settings: as there.

        Returns:
            The mean fitness over the members that have one.
        """
        specs, began = list(self.es.ask()), time.perf_counter()
        found = self._evaluated("rewarded", specs, prompts, reward, settings)
        conclude(self.es, [cast(Written, written) for _, written in found], began)
        return self._tell(specs, [(share, cast(Written, written).scores.values) for share, written in found])

    def close(self) -> None:
        """Ends the actors; Ray keeps running."""
        for actor in self._actors:
            self._ray.kill(actor)
        self._actors = []

    def __enter__(self) -> "RemoteMembers":
        """Is itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Ends the actors."""
        self.close()

    def _begin(self, count: int) -> list[Any]:
        """Starts actors with copies of the optimizer as it is."""
        es = self.es
        callbacks, es.callbacks = es.callbacks, []  # they are this process's
        try:
            copied = self._ray.put(es)
        finally:
            es.callbacks = callbacks
        made = self._ray.remote(**self._options)(Holder) if self._options else self._ray.remote(Holder)
        return [made.remote(copied) for _ in range(count)]

    def _evaluated(self, what: str, specs: Sequence[MemberSpec], *arguments: Any) -> list[tuple[range, Any]]:
        """Lets every actor evaluate its share; without those whose actor is lost, which is replaced."""
        if not self._actors:
            raise RuntimeError("the actors were closed; call remote_members again")
        es, world = self.es, len(self._actors)
        shares = Ranks(0, world).shares(es.pop_size, es.antithetic)
        due = bool(es.checksum_every and es.epoch % es.checksum_every == 0)
        given = self._ray.put(arguments)
        calls = [
            actor.evaluate.remote(what, specs[share.start : share.stop], rank, world, due, given)
            for rank, (actor, share) in enumerate(zip(self._actors, shares, strict=True))
        ]
        own = checksum([p.value for p in es.parameters]) if due else None
        found: list[tuple[range, Any]] = []
        for rank, (call, share) in enumerate(zip(calls, shares, strict=True)):
            try:
                other, engine, result = self._ray.get(call)
            except self._ray.exceptions.RayActorError as error:
                self._replace(rank, f"lost an actor ({str(error).splitlines()[0]})")
                continue
            if other == own:
                found.append((share, result))
                es.evaluator.last = engine if share else es.evaluator.last  # for the diagnostics
            else:
                self._ray.kill(self._actors[rank])
                self._replace(rank, "met an actor whose weights differ from this process's")
        if not found:
            self._refill()
            raise RuntimeError(
                "every actor was lost in one generation; nothing was written, and others took their place"
            )
        return found

    def _replace(self, rank: int, reason: str) -> None:
        self.es.evaluator.warn(
            reason.partition(" (")[0], f"torcheggroll {reason}: its members are dropped, and another actor begins"
        )
        self._actors[rank] = None  # begins once the others have moved on

    def _tell(self, specs: Sequence[MemberSpec], found: Sequence[tuple[range, Tensor]]) -> float:
        """Sends the fitness of the population to this process and to every actor."""
        table: dict[MemberSpec, Any] = {}
        for share, values in found:
            table.update(zip(specs[share.start : share.stop], values, strict=True))
        mean = self.es.tell(table)
        assert mean is not None
        told = self._ray.put(table)
        self._ray.get([actor.tell.remote(told) for actor in self._actors if actor is not None])
        self._refill()
        return mean

    def _refill(self) -> None:
        """Starts an actor in every place that lost its own."""
        gone = [rank for rank, actor in enumerate(self._actors) if actor is None]
        for rank, actor in zip(gone, self._begin(len(gone)) if gone else [], strict=True):
            self._actors[rank] = actor


class Holder:
    """The actor: holds a copy of the optimizer, evaluates some members, and makes the same updates as the others.

    Args:
        es: the copy.
    """

    def __init__(self, es: "TorchEggrollES") -> None:
        self._es = es

    def evaluate(
        self, what: str, specs: Sequence[MemberSpec], rank: int, world: int, due: bool, arguments: Any
    ) -> tuple[int | None, str, Any]:
        """Returns the checksum of the weights, where it is due, the engine, and what these members got."""
        es = self._es
        strange = [spec for spec in specs if (spec.seed, spec.epoch) != (es.seed, es.epoch)]
        if strange:
            raise RuntimeError(f"an actor in epoch {es.epoch} of seed {es.seed} was asked for {strange[0]}; begin anew")
        es.ranks = Ranks(rank, world)  # whose share is these members
        try:
            result = getattr(self, what)(*arguments)
        finally:
            es.ranks = Ranks()
        return checksum([p.value for p in es.parameters]) if due else None, es.evaluator.last, result

    def measured(self, inputs: Any, loss_fn: Any, targets: Any, eval_fn: Any, per_member: bool | str) -> Tensor:
        """Returns the fitness of the members for ``step``."""
        return self._es.measure(self._es.step_task(inputs, loss_fn, targets, eval_fn, per_member))

    def rewarded(self, prompts: Any, reward: Reward | RewardPool, settings: dict[str, Any]) -> Written:
        """Returns the scores of what the members write."""
        return scored(self._es, prompts, reward, **settings)

    def tell(self, table: dict[MemberSpec, Any]) -> None:
        """Makes the update that the driver makes."""
        self._es.ask()
        self._es.tell(table)
