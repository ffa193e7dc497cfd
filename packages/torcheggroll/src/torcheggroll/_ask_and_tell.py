"""Evaluate members anywhere: ask for a population, make its members, tell what they got."""

from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, cast

from torch import Tensor, nn

from ._evaluate.loop import one_member, perturbed_weights
from ._evaluate.task import evaluation_mode
from ._together import Together
from .fitness import by_member, fitness_table
from .noise.cached import Held
from .population import MemberSpec, Population, lora_factors


class AskAndTell(Together):
    """The open population of an epoch: its members by spec, in the model, as factors, or dense."""

    def ask(self) -> Population[MemberSpec]:
        """Open this epoch's population; evaluate its members anywhere, in any order, and ``tell`` what they got.

        Where ranks share the population each gets its own members, and nobody else's.
        """
        self._check()
        self._pending = {}
        own = self.own_members
        return Population(len(own), lambda i: MemberSpec(self.seed, self.epoch, own[i]))

    def tell(self, fitnesses: Any, *, partial: bool = False) -> float | None:
        """Take the fitness of the members, higher is better, and move the weights.

        Args:
            fitnesses: one for each member that ``ask`` gave, in order, ``(N,)`` or ``(N, evaluations)``, or a
                dictionary from a member's number or MemberSpec to a number or several. What is missing, None, NaN or
                infinite drops its pair; who is told twice counts as told last.
            partial: only remember them; a later call completes the population.

        Returns:
            The mean fitness over the members of all ranks, or None when ``partial``.

        Raises:
            RuntimeError: no population is open, or a rank is lost or holds another state; the population stays open.
            ValueError: the number of fitnesses is not that of the members, or a member is of another epoch, seed or
                rank.
        """
        if self._pending is None:
            raise RuntimeError("Call prepare_population() first, or ask(): no population is open")
        told = {**self._pending, **self._by_member(fitnesses)}
        table = fitness_table([told.get(i) for i in self.own_members])
        if partial:
            self._pending = told
            return None
        return self._finish(self._of_all_ranks(table))

    def _by_member(self, fitnesses: Any) -> dict[int, Any]:
        own = self.own_members
        if isinstance(fitnesses, Mapping):
            keyed = cast("Mapping[object, Any]", fitnesses)
            self._check_specs(keyed)
            given = {i: value for i, value in enumerate(by_member(keyed, self.pop_size)) if value is not None}
            if any(i not in own for i in given):
                raise ValueError(
                    f"rank {self.ranks.rank} must tell of its own members, {own.start} to {own.stop - 1}, got "
                    f"{sorted(i for i in given if i not in own)}; ask() gives each rank those that it evaluates"
                )
            return given
        if len(fitnesses) != len(own):
            raise ValueError(f"Expected {len(own)} fitness scores, got {len(fitnesses)}")
        return dict(zip(own, cast("Sequence[Any] | Tensor", fitnesses), strict=True))

    @contextmanager
    def member(self, member: int | MemberSpec) -> Generator[nn.Module, None, None]:
        """Let the model be one member inside the ``with``; afterwards its weights are what they were, to the bit.

        Args:
            member: an index of this epoch's population, or a spec of any epoch.
        """
        spec = self._spec(member)
        deltas = one_member(self.perturbations([spec.member], spec), 0)
        with evaluation_mode(self.model), perturbed_weights(self.parameters, deltas, self.evaluator.warned):
            yield self.model

    @contextmanager
    def held(self) -> Generator[None, None, None]:
        """Draw each member's perturbation once inside the ``with`` and keep it, for many ``forward`` passes each."""
        before, self._held = self._held, Held()
        try:
            yield
        finally:
            self._held = before

    def export_lora(self, member: int | MemberSpec) -> dict[str, Tensor]:
        """Give a member as low-rank factors in PEFT's layout, for a LoRA scale of 1.

        Args:
            member: an index of this epoch's population, or a spec of any epoch.

        Returns:
            Names of PEFT to tensors; parameters without factors, such as biases, come in full.
        """
        spec = self._spec(member)
        return lora_factors(self.model, self.parameters, one_member(self.perturbations([spec.member], spec), 0))

    def prepare_population(self) -> Population[dict[str, Tensor]]:
        """Open this epoch's population as dense parameters, each member made when it is asked for.

        Returns:
            A sequence of dictionaries for ``torch.func.functional_call``, buffers and other parameters included.
        """
        specs = self.ask()
        return Population(len(specs), lambda i: {k: value[0] for k, value in self._dense([specs[i].member]).items()})

    def get_stacked_params(self) -> dict[str, Tensor]:
        """Give the members of ``ask()`` as dense tensors ``(members, *shape)``; this holds all of them at once.

        Raises:
            RuntimeError: no population is open.
        """
        if self._pending is None:
            raise RuntimeError("Call prepare_population() first")
        return self._dense(list(self.own_members))

    def apply_fitness_scores(self, fitnesses: Tensor | Sequence[float]) -> float:
        """Take the fitness of each member of ``prepare_population()``, and move the weights.

        Args:
            fitnesses: ``(members,)``, higher is better; a tensor or a list.

        Returns:
            The mean fitness.

        Raises:
            RuntimeError: no population is open.
            ValueError: the number of fitnesses is wrong.
        """
        mean = self.tell(fitnesses)
        assert mean is not None
        return mean
