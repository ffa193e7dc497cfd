"""Policies for Gymnasium: one member of the population per environment, all acting in one forward pass per step."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from .._checks import check_integer
from .._evaluate.state import evaluation
from .._evaluate.task import call_model, refill
from .._evaluate.tree import map_tensors, tensors_of
from ..es import TorchEggrollES
from ..noise.counter import mix_integer
from .episodes import EpisodeReturns, Seeds, play, takes_tensors
from .moments import Moments, empty, observe_
from .normalization import ObservationNormalizer, gathered

Actor = Callable[[Tensor], Tensor]
_TRAINING, _EVALUATION = 1, 2


class PolicySearch:
    """Evolves a policy by the rewards of a Gymnasium vector environment.

    Args:
        es: the optimizer of the policy, which maps ``(batch, *observation)`` to ``(batch, outputs)``.
        make_envs: function from a number of environments to a vector environment, such as
            ``lambda n: gymnasium.make_vec("CartPole-v1", n, "sync")``.
        episodes: episodes of each member per step; its fitness is their mean return, or with ``fitness="question"``
            each return is compared with the same episode of the other members.
        normalize: True scales observations to zero mean and unit variance by the statistics of earlier steps; or a
            normalizer.
        act: function from outputs ``(n, outputs)`` to actions; None takes the largest output of a Discrete space, and
            clips to a Box.
        common_seeds: all members play the same episodes, so that returns differ only by the weights. Needs environments
            that accept a seed each, as Sync and Async do. Where they reset by themselves, only the first episode of a
            generation is seeded; with ``AutoresetMode.DISABLED`` every episode is.
        max_steps: steps per generation, after which running episodes are cut off.
        seed: seed of the episodes; None takes that of ``es``.
        initial_state: initial state of a recurrent policy ``(observations, state)`` to ``(outputs, state)``, for one
            environment: a tensor, or tensors in tuples, lists and dictionaries. It is restored at every episode; the
            policy receives it with the batch as first dimension.

    Environments can run on a device: a vector environment with ``takes_tensors = True`` and a ``device`` receives
    actions as tensors and returns tensors, as `torcheggroll.rl.worlds.CartPole` does; ``seed_each = True`` says that it
    accepts a list of seeds.

    Raises:
        ValueError: ``episodes`` or ``max_steps`` is below 1.
        TypeError: the action space is neither Discrete nor Box and ``act`` is None.

    Example:
        >>> import gymnasium, torch
        >>> from torcheggroll import TorchEggrollES
        >>> from torcheggroll.rl import PolicySearch
        >>> es = TorchEggrollES(torch.nn.Linear(4, 2), pop_size=4, sigma=0.1, seed=0)
        >>> search = PolicySearch(es, lambda n: gymnasium.make_vec("CartPole-v1", n, "sync"))
        >>> search.step() > 0
        True
        >>> search.close()
    """

    def __init__(
        self,
        es: TorchEggrollES,
        make_envs: Callable[[int], Any],
        *,
        episodes: int = 1,
        normalize: bool | ObservationNormalizer = False,
        act: Actor | None = None,
        common_seeds: bool = True,
        max_steps: int | None = None,
        seed: int | None = None,
        initial_state: Any = None,
    ) -> None:
        _check(es, make_envs, normalize, act)
        check_integer("episodes", episodes, "[1, inf)")
        if max_steps is not None:
            check_integer("max_steps", max_steps, "[1, inf)")
        if seed is not None:
            check_integer("seed", seed, "(-inf, inf)")
        self.es: TorchEggrollES = es
        self.episodes: int = episodes
        self.max_steps: int | None = max_steps
        self.seed: int = es.seed if seed is None else seed
        self.env_steps: int = 0
        self.played: EpisodeReturns | None = None
        self._initial = (
            None if initial_state is None else map_tensors(lambda t: t.detach().to(es.device, copy=True), initial_state)
        )
        if self._initial is not None and not tensors_of(self._initial):
            raise ValueError(f"initial_state must hold at least one tensor, got {initial_state!r}")
        self._make = make_envs
        self._envs: dict[int, Any] = {}
        own = self._environments(max(len(es.own_members), 1))
        self.act: Actor = act or actor(own.single_action_space)
        self.common_seeds: bool = common_seeds
        shape = _observed(own.single_observation_space)
        made = ObservationNormalizer(shape) if normalize is True else None
        self.normalizer: ObservationNormalizer | None = (
            normalize if isinstance(normalize, ObservationNormalizer) else made
        )

    def step(self) -> float:
        """Lets every member play and moves the weights.

        Returns:
            The mean return over the members and their episodes.

        Raises:
            RuntimeError: a rank is lost, or failed; nothing has been written.
        """
        es = self.es
        es.ask()
        streams = None if self.normalizer is None else empty(len(es.own_members), self.normalizer.shape)
        with es.evaluation():
            self.played = self._play(streams)
        returns = self.played.returns
        mean = es.tell(returns if self.episodes > 1 else returns[:, 0])
        self.env_steps += int(self.played.lengths.sum())
        if self.normalizer is not None and streams is not None:
            self.normalizer.absorb(gathered(streams, lambda rows: es.ranks.gather_rows(rows, es.shares, es.epoch)))
        assert mean is not None
        return mean

    def _play(self, streams: Moments | None) -> EpisodeReturns:
        es = self.es
        members = es.own_members
        if not members:
            return EpisodeReturns(
                torch.zeros(0, self.episodes, dtype=torch.float64), torch.zeros(0, self.episodes).long()
            )
        envs = self._environments(len(members))

        def watch(observation: Tensor, counted: Tensor) -> None:
            if streams is not None:
                observe_(streams, observation.to(torch.float64), counted)

        memory = Memory(self._initial, len(members))

        def act(observation: Tensor, fresh: Tensor) -> Any:
            seen = self._seen(observation).unsqueeze(1)
            outputs = memory.call(lambda state: es.forward(*_given(seen, state, 1), per_member=True), fresh, 1)
            return self._actions(outputs[:, 0], envs)

        seeds = self._seeds(envs, _TRAINING, es.epoch, None if self.common_seeds else members.start)
        with es.held():
            return play(envs, act, self.episodes, seeds, watch, self.max_steps)

    @torch.no_grad()
    def evaluate(self, episodes: int = 100, seed: int | None = None) -> Tensor:
        """Plays the unperturbed policy, one episode in each of ``episodes`` environments.

        Args:
            episodes: number of episodes, at least 1.
            seed: seed of the episodes, which differ from those of training; None takes that of the search.

        Returns:
            The return of each episode, ``(episodes,)`` float64.
        """
        check_integer("episodes", episodes, "[1, inf)")
        envs, model = self._environments(episodes), self.es.model

        memory = Memory(self._initial, episodes)

        def act(observation: Tensor, fresh: Tensor) -> Any:
            seen = self._seen(observation)
            return self._actions(memory.call(lambda state: call_model(model, *_given(seen, state, 0)), fresh, 0), envs)

        with evaluation(model, ()):
            seeds = self._seeds(envs, _EVALUATION, 0, 0, seed)
            return play(envs, act, 1, seeds).returns[:, 0]

    def close(self) -> None:
        """Closes the environments; they are created again when needed."""
        for envs in self._envs.values():
            envs.close()
        self._envs.clear()

    def state_dict(self) -> dict[str, Any]:
        """Returns the observation statistics and the number of steps, which ``es.state_dict()`` does not hold."""
        normalizer = None if self.normalizer is None else self.normalizer.state_dict()
        return {"normalizer": normalizer, "env_steps": self.env_steps, "seed": self.seed}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restores a checkpoint; together with that of ``es`` the run continues to the bit.

        Args:
            state: the result of ``state_dict``.

        Raises:
            KeyError: an entry is missing.
            ValueError: only one of checkpoint and search has a normalizer.
        """
        saved = state["normalizer"]
        if (saved is None) != (self.normalizer is None):
            raise ValueError("the checkpoint must have a normaliser where this search has one; set normalize alike")
        if self.normalizer is not None:
            self.normalizer.load_state_dict(saved)
        self.env_steps, self.seed = state["env_steps"], state["seed"]

    def _environments(self, count: int) -> Any:
        if count not in self._envs:
            made = self._make(count)
            missing = [name for name in ("num_envs", "single_action_space", "single_observation_space", "step", "reset")
                       if not hasattr(made, name)]  # fmt: skip
            if missing:
                raise TypeError(
                    f"make_envs({count}) must return a vector environment, got {type(made).__name__} without "
                    f"{', '.join(missing)}; use gymnasium.make_vec(name, {count}, 'sync')"
                )
            if int(made.num_envs) != count:
                raise ValueError(f"make_envs({count}) must return {count} environments, got {int(made.num_envs)}")
            self._envs[count] = made
        return self._envs[count]

    def _seen(self, observation: Tensor) -> Tensor:
        if self.normalizer is not None:
            observation = self.normalizer.normalize(observation)
        like = self.es.parameters[0].value
        return observation.to(like.device, like.dtype if observation.is_floating_point() else None)

    def _actions(self, outputs: Tensor, envs: Any) -> Any:
        chosen = self.act(outputs)
        if takes_tensors(envs):
            return chosen.to(envs.device)
        return chosen.cpu().numpy().astype(envs.single_action_space.dtype, copy=False)

    def _seeds(self, envs: Any, purpose: int, epoch: int, first: int | None, seed: int | None = None) -> Seeds:
        """Returns the seed of every episode: with ``first``, the number of the first environment, all differ."""
        base = mix_integer(mix_integer((self.seed if seed is None else seed) + purpose) + epoch)

        def of(environment: int, episode: int) -> int:
            own = 0 if first is None else first + environment + 1
            return mix_integer(mix_integer(base + episode) + own) >> 33  # 31 bits: what every environment accepts

        return Seeds(of, _takes_one_each(envs))


def actor(space: Any) -> Actor:
    """Returns the function from outputs to actions: the largest output for Discrete, clipped outputs for Box.

    Args:
        space: the action space of one environment.

    Raises:
        TypeError: the space is neither Discrete nor Box.

    Example:
        >>> import torch
        >>> from torcheggroll.rl import actor
        >>> from torcheggroll.rl.worlds import Choices
        >>> actor(Choices(2))(torch.tensor([[0.1, 0.9], [0.5, 0.2]]))
        tensor([1, 0])
    """
    if hasattr(space, "n") and hasattr(space, "start"):
        start, actions = int(space.start), int(space.n)

        def largest(outputs: Tensor) -> Tensor:
            _check_outputs(outputs, actions)
            return outputs.argmax(-1) + start

        return largest
    if hasattr(space, "low") and hasattr(space, "high"):
        low, high = torch.as_tensor(space.low), torch.as_tensor(space.high)

        def clip(outputs: Tensor) -> Tensor:
            _check_outputs(outputs, low.numel())
            return outputs.reshape(-1, *low.shape).to(low).clamp(low, high)

        return clip
    raise TypeError(f"act must be given for actions of {space!r}: a function of the outputs (n, outputs)")


def _check_outputs(outputs: Tensor, count: int) -> None:
    """Refuses a policy that has another number of outputs than the actions need."""
    if outputs.shape[1:].numel() != count:
        raise ValueError(
            f"the policy must have {count} outputs, one for each action or part of one, got shape "
            f"{tuple(outputs.shape[1:])} per environment; change its last layer, or pass act="
        )


def _observed(space: Any) -> tuple[int, ...]:
    """Returns the shape of an observation."""
    shape = getattr(space, "shape", None)
    if shape is None:
        raise TypeError(
            f"observations must be arrays of one shape, got {space!r}; flatten them by a wrapper of the environment, "
            "such as gymnasium.wrappers.FlattenObservation"
        )
    return tuple(int(n) for n in shape)


def _check(es: Any, make_envs: Any, normalize: Any, act: Any) -> None:
    """Refuses arguments of another kind."""
    if not isinstance(es, TorchEggrollES):
        raise TypeError(f"es must be a TorchEggrollES, got {type(es).__name__}; pass TorchEggrollES(policy, ...)")
    if not callable(make_envs):
        raise TypeError(f"make_envs must be a function of the number of environments, got {make_envs!r}")
    if not isinstance(normalize, bool | ObservationNormalizer):
        raise TypeError(f"normalize must be True, False or an ObservationNormalizer, got {normalize!r}")
    if act is not None and not callable(act):
        raise TypeError(f"act must be a function of the outputs, or None, got {act!r}")


def _takes_one_each(envs: Any) -> bool:
    """Returns whether ``reset`` takes a list of seeds, as Gymnasium's Sync and Async vector environments do."""
    return bool(getattr(envs, "seed_each", False)) or hasattr(getattr(envs, "unwrapped", envs), "env_fns")


class Memory:
    """The states of a recurrent policy, one per environment; empty without an initial state.

    Args:
        initial: state of one environment, or None.
        environments: number of environments.
    """

    def __init__(self, initial: Any, environments: int) -> None:
        self._initial = initial
        self._environments = environments
        self._state = None if initial is None else self._begin()

    def call(self, policy: Callable[[Any], Any], fresh: Tensor, inner: int) -> Any:
        """Returns the policy's outputs; its states are kept for the next call.

        Args:
            policy: a state of every environment, or None, to outputs, or to outputs and states.
            fresh: ``(environments,)``, whose episode begins: they act on the initial state.
            inner: dimensions that the policy's states have between environments and state.
        """
        if self._initial is None:
            return policy(None)
        begun = [
            torch.where(fresh.to(s.device).view(-1, *[1] * (s.dim() - 1)), new, s)
            for s, new in zip(tensors_of(self._state), tensors_of(self._begin()), strict=True)
        ]
        outputs, state = policy(refill(self._initial, begun))
        self._state = map_tensors(lambda s: s.flatten(0, inner) if inner else s, state)
        return outputs

    def _begin(self) -> Any:
        return map_tensors(lambda s: s.unsqueeze(0).expand(self._environments, *s.shape), self._initial)


def _given(seen: Tensor, state: Any, inner: int) -> tuple[Any]:
    """Returns the policy's arguments as one tree: observations, and the states of a recurrent policy."""
    if state is None:
        return (seen,)
    return ((seen, map_tensors(lambda s: s.unsqueeze(1) if inner else s, state)),)
