"""Worlds on the device, and policies that remember."""

import math
import time

import pytest
import torch
from torch import nn
from torcheggroll import TorchEggrollES
from torcheggroll.rl import PolicySearch
from torcheggroll.rl._cartpole import fused_cpu
from torcheggroll.rl.worlds import CartPole


class Remembering(nn.Module):
    """A gated recurrent unit of linear layers that sees neither velocity."""

    def __init__(self, hidden=16):
        super().__init__()
        self.x, self.h, self.out = nn.Linear(2, 3 * hidden), nn.Linear(hidden, 3 * hidden), nn.Linear(hidden, 2)

    def forward(self, seen, h):
        r, z, n = self.x(seen[..., [0, 2]] * 4).chunk(3, -1)
        hr, hz, hn = self.h(h).chunk(3, -1)
        r, z = (r + hr).sigmoid(), (z + hz).sigmoid()
        h = (1 - z) * (n + r * hn).tanh() + z * h
        return self.out(h), h


def gym():
    return pytest.importorskip("gymnasium", reason="needs Gymnasium")


def test_the_worlds_follow_gymnasiums_cart_and_pole():
    env = gym().make("CartPole-v1").unwrapped
    worlds = CartPole(1)
    for seed in range(5):
        env.reset(seed=seed)
        worlds.reset(seed=seed)
        env.state = tuple(worlds.state[0].double().tolist())
        worlds.state = worlds.state.double()
        generator = torch.Generator().manual_seed(seed)
        for _ in range(200):
            action = int(torch.randint(2, (), generator=generator))
            want, _, over, _, _ = env.step(action)
            before = worlds.state.clone()
            seen, reward, terminated, truncated, _ = worlds.step(torch.tensor([action]))
            assert bool(terminated) == over
            assert float(reward) == 1.0
            if over:
                assert seen[0].abs().max() <= 0.05
                assert not torch.equal(seen, before)
                break
            assert torch.allclose(seen[0], torch.tensor(want, dtype=torch.float64), rtol=1e-6, atol=1e-7)
            assert not truncated


def test_the_kernel_and_torch_agree_to_the_bit(monkeypatch):
    fused, plain = CartPole(1003, max_steps=20), CartPole(1003, max_steps=20)
    seen = [worlds.reset(seed=3)[0] for worlds in (fused, plain)]
    assert torch.equal(*seen)
    fits, ends = fused_cpu.fits, torch.zeros(2)
    for _ in range(100):
        action = torch.randint(2, (1003,))
        a = fused.step(action)
        monkeypatch.setattr(fused_cpu, "fits", lambda state: False)
        b = plain.step(action)
        monkeypatch.setattr(fused_cpu, "fits", fits)
        assert all(map(torch.equal, a[:4], b[:4]))
        ends += torch.stack([a[2].sum(), a[3].sum()])
    assert (ends > 100).all()


@pytest.mark.parametrize(
    "action", [torch.ones(2).long(), torch.ones(3), torch.tensor([0, 2, 1]), torch.tensor([0, -1, 1])]
)
def test_actions_that_are_none_are_refused(action):
    worlds = CartPole(3)
    before = worlds.reset(seed=0)[0]
    with pytest.raises(ValueError, match="0 or 1 for each of 3 worlds"):
        worlds.step(action)
    assert torch.equal(worlds.state, before)


def test_an_episode_begins_where_seed_and_number_say():
    worlds, other = CartPole(3), CartPole(2)
    seen, _ = worlds.reset(seed=[7, 8, 7])
    assert torch.equal(seen[0], seen[2])
    assert not torch.equal(seen[0], seen[1])
    assert torch.equal(other.reset(seed=7)[0], seen[:2])
    begun = []
    while len(begun) < 2:
        seen, _, over, _, _ = worlds.step(torch.tensor([1, 0, 1]))
        assert torch.equal(seen[0], seen[2])
        if over[0]:
            begun.append(seen[0])
    assert not torch.equal(*begun)
    with pytest.raises(ValueError, match="seed must be"):
        worlds.reset(seed=[1])


def test_episodes_are_cut_off():
    worlds = CartPole(2, max_steps=3)
    worlds.reset(seed=0)
    cut = [worlds.step(torch.tensor([1, 0]))[3].tolist() for _ in range(6)]
    assert cut == [[False] * 2, [False] * 2, [True] * 2] * 2


def test_four_thousand_worlds_of_a_search_learn_without_numpy():
    es = TorchEggrollES(nn.Linear(4, 2), pop_size=4096, sigma=0.5, lr=0.05, seed=0, engine="fold")
    search = PolicySearch(es, lambda n: CartPole(n, max_steps=200), max_steps=200)
    first = search.step()
    for _ in range(3):
        last = search.step()
    assert search.played.returns.shape == (4096, 1)
    assert last > first + 20
    assert search.evaluate(64).shape == (64,)


def solved(max_steps, generations):
    torch.manual_seed(0)
    es = TorchEggrollES(
        Remembering(), pop_size=128, sigma=0.3, lr=0.1, rank=1, seed=0, optimizer=torch.optim.Adam, fitness="rank"
    )
    search = PolicySearch(
        es, lambda n: CartPole(n, max_steps=max_steps), initial_state=torch.zeros(16), max_steps=max_steps
    )
    for generation in range(generations):
        search.step()
        if generation % 5 == 4 and search.evaluate(100).mean() >= 0.97 * max_steps:
            break
    assert es.diagnostics.engine == "fold"
    return float(search.evaluate(100, seed=1).mean())


@pytest.mark.slow
def test_a_recurrent_policy_solves_the_cart_and_pole_without_seeing_velocities():
    assert solved(500, 150) >= 475


@pytest.mark.parametrize("mode", ["NEXT_STEP", "SAME_STEP", "DISABLED"])
def test_every_episode_begins_with_the_initial_state(mode):
    """The policy counts its own steps; its outputs give them away."""
    gymnasium = gym()
    seen = []

    class Counting(nn.Module):
        def __init__(self):
            super().__init__()
            self.w = nn.Linear(4, 2)

        def forward(self, x, count):
            return torch.cat([self.w(x), count], -1), count + 1

    def act(outputs):
        seen.append(outputs[:, -1].clone())
        return (outputs[:, 0] > 0).long()

    vector = gymnasium.vector.AutoresetMode

    def make(n):
        return gymnasium.make_vec("CartPole-v1", n, "sync", vector_kwargs={"autoreset_mode": vector[mode]})

    es = TorchEggrollES(Counting(), pop_size=2, sigma=0.1, seed=0, engine="loop")
    search = PolicySearch(es, make, episodes=3, initial_state=torch.zeros(1), act=act)
    search.step()
    lengths = search.played.lengths
    pause = int(mode == "NEXT_STEP")
    for i in range(2):
        begun = [t for t, row in enumerate(seen) if row[i] == 0]
        want = [0, int(lengths[i, 0]) + pause, int(lengths[i, :2].sum()) + 2 * pause]
        assert begun[:3] == want
    search.close()


def test_ranks_of_memory_are_refused_without_a_tensor():
    with pytest.raises(ValueError, match="initial_state"):
        PolicySearch(TorchEggrollES(nn.Linear(4, 2), pop_size=2), CartPole, initial_state=3)


@pytest.mark.slow
def test_worlds_are_twenty_times_as_fast_as_a_vector_environment():
    envs, worlds = gym().make_vec("CartPole-v1", 4096, "sync"), CartPole(4096)
    rates = []
    for made, actions, steps in ((envs, torch.ones(4096).long().numpy(), 5), (worlds, torch.ones(4096).long(), 100)):
        made.reset(seed=0)
        made.step(actions)
        began = time.process_time()
        for _ in range(steps):
            made.step(actions)
        rates.append(4096 * steps / (time.process_time() - began))
    envs.close()
    assert math.isfinite(rates[1])
    assert rates[1] > 20 * rates[0]
