"""Members play what they would play alone; statistics and episodes are the same wherever and however they are run."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn
from torcheggroll import TorchEggrollES
from torcheggroll.rl import PolicySearch, actor
from torcheggroll.rl.normalization import ObservationNormalizer
from torcheggroll.rl.worlds import CartPole

gymnasium = pytest.importorskip("gymnasium")
numpy = pytest.importorskip("numpy")
MODES = ["NextStep", "SameStep", "Disabled"]


class Walk(gymnasium.Env):
    """A noisy walk to a goal that is drawn at the start; the action says which way, and every step costs."""

    def __init__(self, continuous=False):
        box = gymnasium.spaces.Box(-1.0, 1.0, (1,), numpy.float32)
        self.action_space = box if continuous else gymnasium.spaces.Discrete(2, start=3)
        self.observation_space = gymnasium.spaces.Box(-100.0, 100.0, (2,), numpy.float32)
        self.continuous = continuous

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.at, self.goal = 0.0, float(self.np_random.uniform(1, 3))
        return self._seen(), {}

    def step(self, action):
        assert self.action_space.contains(action)
        self.at += float(action[0]) if self.continuous else float(action) - 3.5
        there = abs(self.at) >= self.goal
        return self._seen(), -0.1 + 2.0 * (there and self.at > 0), there, False, {}

    def _seen(self):
        return numpy.array([self.at, self.goal], numpy.float32)


def alone(continuous=False, limit=12):
    return gymnasium.wrappers.TimeLimit(Walk(continuous), limit)


def vector(count, mode="NextStep", **settings):
    return gymnasium.vector.SyncVectorEnv([lambda: alone(**settings)] * count, autoreset_mode=mode)


def strategy(outputs=2, **settings):
    torch.manual_seed(1)
    model = nn.Sequential(nn.Flatten(), nn.Linear(2, 8), nn.Tanh(), nn.Linear(8, outputs))
    return TorchEggrollES(model, **{"pop_size": 10, "sigma": 0.7, "rank": 2, "seed": 5, "engine": "fold"} | settings)


def search(mode="NextStep", es=None, continuous=False, limit=12, **settings):
    es = es or strategy(1 if continuous else 2)
    return PolicySearch(es, lambda n: vector(n, mode, continuous=continuous, limit=limit), **settings)


def played_alone(model, act, env, episodes, seeds):
    """The oracle: one environment, one model, one episode after the other."""
    returns, lengths, seen = [], [], []
    for seed in seeds[:episodes]:
        observation, over = env.reset(seed=seed)[0], False
        returns.append(0.0)
        lengths.append(0)
        while not over:
            seen.append(observation)
            with torch.no_grad():
                action = act(model(torch.as_tensor(observation)[None]))[0].numpy()
            observation, reward, terminated, truncated, _ = env.step(action)
            returns[-1] += reward
            lengths[-1] += 1
            over = terminated or truncated
    return returns, lengths, seen


@pytest.mark.parametrize("continuous", [False, True])
@pytest.mark.parametrize("mode", MODES)
def test_each_member_plays_its_own_episodes_in_every_autoreset_mode(mode, continuous):
    run = search(mode, continuous=continuous, episodes=3)
    es, envs = run.es, run._environments(10)
    seeds = run._seeds(envs, 1, 0, None)
    wanted = []
    for i in range(10):
        own = [seeds.of(i, k) if k == 0 or mode == "Disabled" else None for k in range(3)]
        with es.member(i) as model:
            wanted.append(played_alone(model, run.act, alone(continuous), 3, own)[:2])
    run.step()
    assert run.played.returns.tolist() == [pytest.approx(returns) for returns, _ in wanted]
    assert run.played.lengths.tolist() == [lengths for _, lengths in wanted]
    assert run.env_steps == sum(sum(lengths) for _, lengths in wanted)
    assert len({tuple(lengths) for _, lengths in wanted}) > 1  # weights made a difference


@pytest.mark.parametrize("mode", MODES)
def test_common_seeds_leave_nothing_but_weights_to_differ(mode):
    same = search(mode, strategy(sigma=0.0), episodes=2)
    same.step()
    assert (same.played.returns == same.played.returns[0]).all()
    other = search(mode, strategy(sigma=0.0), episodes=2, common_seeds=False, limit=60)
    other.step()
    assert len(set(other.played.lengths[:, 0].tolist())) > 1


def test_every_generation_and_seed_meets_other_episodes():
    def first_goals(run, generation):
        run.es.epoch = generation
        envs = run._environments(10)
        envs.reset(seed=[run._seeds(envs, 1, generation, None).of(i, 0) for i in range(10)])
        return [env.unwrapped.goal for env in envs.envs]

    goals = [tuple(first_goals(search(seed=seed), generation)) for seed in (0, 1) for generation in (0, 1)]
    assert len(set(goals)) == 4
    assert all(len(set(own)) == 1 for own in goals)


@pytest.mark.parametrize("mode", MODES)
def test_the_statistics_are_those_of_what_counted(mode):
    run = search(mode, episodes=2, normalize=True)
    es, envs, seen = run.es, run._environments(10), []
    seeds = run._seeds(envs, 1, 0, None)
    for i in range(10):
        own = [seeds.of(i, k) if k == 0 or mode == "Disabled" else None for k in range(2)]
        with es.member(i) as model:
            seen += played_alone(model, run.act, alone(), 2, own)[2]
    run.step()
    seen = numpy.asarray(seen, numpy.float64)
    assert run.normalizer.count == len(seen) == run.env_steps
    assert run.normalizer.mean.tolist() == pytest.approx(seen.mean(0).tolist(), rel=1e-12)
    assert run.normalizer.variance.tolist() == pytest.approx(seen.var(0).tolist(), rel=1e-12)
    x = numpy.array([[0.5, 2.0]])
    wanted = (x - seen.mean(0)) / seen.std(0)
    assert torch.allclose(run.normalizer.normalize(torch.as_tensor(x)), torch.as_tensor(wanted), rtol=1e-6)


def test_a_run_that_was_saved_goes_on_to_the_bit(tmp_path):
    whole = search(normalize=True)
    for _ in range(2):
        whole.step()
    torch.save([whole.es.state_dict(), whole.state_dict()], tmp_path / "run.pt")
    means = [whole.step() for _ in range(3)]
    saved = torch.load(tmp_path / "run.pt", weights_only=True)
    other = search(es=strategy(seed=77), normalize=True)
    other.step()
    other.es.load_state_dict(saved[0])
    other.load_state_dict(saved[1])
    assert [other.step() for _ in range(3)] == means
    assert torch.equal(whole.normalizer.variance, other.normalizer.variance)
    assert whole.env_steps == other.env_steps


def test_evaluation_plays_the_policy_itself_and_changes_nothing():
    run = search(normalize=True)
    run.step()
    before = run.normalizer.count
    first, again, other = run.evaluate(6), run.evaluate(6), run.evaluate(6, seed=9)
    seeds = run._seeds(run._environments(6), 2, 0, 0)
    for i, value in enumerate(first.tolist()):
        with torch.no_grad():

            def model(x):
                return run.es.model(run.normalizer.normalize(x))

            returns, _, _ = played_alone(model, run.act, alone(), 1, [seeds.of(i, 0)])
        assert value == pytest.approx(returns[0])
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert run.normalizer.count == before


def test_whoever_is_cut_off_keeps_its_reward():
    run = search(limit=10**6, max_steps=7)
    run.step()
    assert run.played.lengths.max() == 7
    still = run.played.lengths[:, 0] == 7
    assert run.played.returns[still, 0].tolist() == pytest.approx([-0.7] * int(still.sum()))


def test_an_environment_that_fails_leaves_the_weights_alone():
    run = search()
    weights = run.es.base_params
    run._environments(10).envs[3].unwrapped.step = lambda action: 1 / 0
    with pytest.raises(ZeroDivisionError):
        run.step()
    assert all(torch.equal(run.es.base_params[name], value) for name, value in weights.items())
    assert run.es.epoch == 0


def test_actions_fit_their_space():
    discrete = gymnasium.spaces.Discrete(3, start=5)
    box = gymnasium.spaces.Box(numpy.float32([-1, -1]), numpy.float32([2, 0.5]))
    assert actor(discrete)(torch.tensor([[0.0, 1.0, 0.5]])).tolist() == [6]
    assert actor(box)(torch.tensor([[-3.0, 4.0]])).tolist() == [[-1.0, 0.5]]
    with pytest.raises(TypeError, match="act must be given"):
        actor(gymnasium.spaces.MultiDiscrete([2, 2]))


def test_what_can_not_be_is_refused():
    with pytest.raises(ValueError, match="episodes must be in"):
        search(episodes=0)
    with pytest.raises(ValueError, match="max_steps must be in"):
        search(max_steps=0)
    with pytest.raises(ValueError, match="set normalize alike"):
        search().load_state_dict(search(normalize=True).state_dict())
    with pytest.raises(ValueError, match="observations of shape"):
        ObservationNormalizer((3,)).load_state_dict(ObservationNormalizer((2,)).state_dict())


def test_environments_that_step_together_take_one_seed():
    run = PolicySearch(strategy_of_cartpole(), lambda n: gymnasium.make_vec("CartPole-v1", num_envs=n), max_steps=20)
    assert run.step() > 5


def strategy_of_cartpole():
    return TorchEggrollES(nn.Sequential(nn.Linear(4, 2)), pop_size=4, sigma=0.5, seed=0, engine="fold")


RANKS = Path(__file__).parent / "rl_ranks.py"


@pytest.mark.slow
def test_two_ranks_play_as_one_process_to_the_bit(tmp_path):
    for world in (1, 2):
        subprocess.run([sys.executable, str(RANKS), str(world), str(tmp_path / f"{world}")], check=True, timeout=240)
    one, *two = (torch.load(tmp_path / name, weights_only=True) for name in ("1.0", "2.0", "2.1"))
    for own in two:
        assert own["means"] == one["means"]
        for kind in ("weights", "normalizer"):
            assert all(torch.equal(own[kind][name], value) for name, value in one[kind].items())


@pytest.mark.parametrize(
    ("change", "kind", "says"),
    [
        ({"es": nn.Linear(4, 2)}, TypeError, "es must be a TorchEggrollES, got Linear"),
        ({"make_envs": "CartPole-v1"}, TypeError, "make_envs must be a function"),
        ({"make_envs": lambda n: gymnasium.make("CartPole-v1")}, TypeError, "use gymnasium.make_vec"),
        ({"make_envs": lambda n: CartPole(3)}, ValueError, "must return 4 environments, got 3"),
        ({"make_envs": lambda n: gymnasium.make_vec("Blackjack-v1", n, "sync")}, TypeError, "one shape"),
        ({"normalize": "yes"}, TypeError, "normalize must be"),
        ({"act": 3}, TypeError, "act must be"),
        ({"seed": 1.5}, TypeError, "seed must be an integer"),
    ],
)
def test_a_search_refuses_what_it_can_not_play(change, kind, says):
    given = {"es": TorchEggrollES(nn.Linear(4, 2), pop_size=4), "make_envs": CartPole, **change}
    with pytest.raises(kind, match=says):
        PolicySearch(given.pop("es"), given.pop("make_envs"), **given)


@pytest.mark.parametrize("outputs", [1, 3])
def test_a_policy_with_another_number_of_outputs_is_refused(outputs):
    es = TorchEggrollES(nn.Linear(4, outputs), pop_size=4)
    before = es.base_params["weight"]
    with pytest.raises(ValueError, match="must have 2 outputs"):
        PolicySearch(es, CartPole).step()
    assert torch.equal(es.base_params["weight"], before)
