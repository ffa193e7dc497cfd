"""A member's state is what it would be had the member lived alone; persistent evolution sees the whole sequence."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional
from torcheggroll import TorchEggrollES
from torcheggroll.recurrent import PersistentES


class Cell(nn.Module):
    """A recurrent layer with a readout, of torch's or of linear layers."""

    def __init__(self, kind):
        super().__init__()
        self.kind = kind
        if kind in ("GRU", "LSTM"):
            self.core = getattr(nn, kind)(3, 5, batch_first=True)
        else:
            self.seen, self.kept = nn.Linear(3, 5), nn.Linear(5, 5)
        self.read = nn.Linear(5, 2)

    def forward(self, x, state):
        if self.kind != "linear":
            y, state = self.core(x, state)
            return self.read(y), state
        ys = []
        for seen in self.seen(x).unbind(1):
            state = {"h": torch.tanh(seen + self.kept(state["h"]))}
            ys.append(self.read(state["h"]))
        return torch.stack(ys, 1), state


def start(kind):
    zero = torch.zeros(1, 4, 5)
    return {"GRU": zero, "LSTM": (zero, zero + 1), "linear": {"h": torch.full((4, 5), 0.1)}}[kind]


def strategy(kind="linear", engine="vmap", **settings):
    torch.manual_seed(2)
    settings = {"pop_size": 6, "sigma": 0.2, "rank": 2, "lr": 0.5, "seed": 4, "noise_reuse": 3} | settings
    return TorchEggrollES(Cell(kind), engine=engine, **settings)


def data(windows, steps=3):
    generator = torch.Generator().manual_seed(1)
    x, y = (torch.randn(windows, 4, steps, n, generator=generator) for n in (3, 2))
    return list(zip(x, y, strict=True))


def leaves(state):
    values = state.values() if isinstance(state, dict) else state if isinstance(state, tuple) else [state]
    return list(values)


@pytest.mark.parametrize("lr", [0.0, 0.5])
@pytest.mark.parametrize(
    ("kind", "engine"), [("GRU", "loop"), ("LSTM", "loop"), ("linear", "loop"), ("linear", "vmap"), ("linear", "fold")]
)
def test_a_member_carries_the_state_it_would_have_alone(kind, engine, lr):
    es = strategy(kind, engine, lr=lr)
    run = PersistentES(es, start(kind))
    alone = [start(kind)] * 6
    for w, (x, y) in enumerate(data(6)):
        if w == 3:
            alone = [start(kind)] * 6  # the next sequence
        fitness = []
        for i in range(6):
            with es.member(i) as model:
                out, alone[i] = model(x, alone[i])
            fitness.append(-float(functional.mse_loss(out, y)))
        mean = run.step(x, functional.mse_loss, y)
        assert mean == pytest.approx(sum(fitness) / 6, rel=1e-5)
        for own, wanted in zip(leaves(run.state), zip(*map(leaves, alone), strict=True), strict=True):
            assert torch.allclose(own, torch.stack(wanted), atol=1e-6)
            assert engine != "loop" or torch.equal(own, torch.stack(wanted))


def test_perturbations_last_for_a_sequence_and_change_with_the_next():
    es = strategy(lr=0.0)
    run, drawn = PersistentES(es, start("linear")), []
    for x, y in data(6):
        drawn.append(torch.cat([d.dense.flatten() for d in es.perturbations([0]) if d.dense is not None]))
        run.step(x, functional.mse_loss, y)
    assert all(torch.equal(drawn[0], d) for d in drawn[:3])
    assert all(torch.equal(drawn[3], d) for d in drawn[3:])
    assert not torch.equal(drawn[0], drawn[3])


class Recurrence(nn.Module):
    """s ← a s + x, one number: what a does to the last window it does through all before."""

    def __init__(self):
        super().__init__()
        self.a = nn.Parameter(torch.tensor([0.8], dtype=torch.float64))

    def forward(self, x, s):
        out = []
        for now in x:
            s = self.a * s + now
            out.append(s)
        return torch.cat(out), s


class Still(torch.optim.SGD):
    """Notes the estimate and moves nothing."""

    def __init__(self, parameters, lr):
        super().__init__(parameters, lr=lr)
        self.seen = []

    def step(self, closure=None):
        self.seen.append(-float(self.param_groups[0]["params"][0].grad))


def slopes(detached):
    """The oracle: derivatives of each window's fitness by autograd, with the state's own past or without."""
    model, s, out = Recurrence(), torch.ones(1, dtype=torch.float64), []
    for x in SEQUENCE:
        y, s = model(x, s.detach() if detached else s)
        (slope,) = torch.autograd.grad(-y.square().mean(), model.a, retain_graph=True)
        out.append(float(slope))
    return out


SEQUENCE = torch.tensor([[1.0, -0.5], [0.3, 0.2], [-0.4, 0.1], [0.0, 0.6]], dtype=torch.float64)


def estimates(pop_size, noise_reuse, windows):
    es = TorchEggrollES(
        Recurrence(), pop_size, 1e-4, seed=3, noise="rademacher", scale="unbiased", fitness="raw", engine="vmap",
        optimizer=Still, noise_reuse=noise_reuse,
    )  # fmt: skip
    run = PersistentES(es, torch.ones(1, dtype=torch.float64), windows)
    for x in SEQUENCE:
        run.step(x, lambda y, _: y.square().mean())
    return es.optimizer.seen


def test_persistent_evolution_estimates_the_slope_of_the_whole_sequence():
    assert estimates(2, 4, 4) == pytest.approx(slopes(detached=False), rel=1e-6)


def test_redrawn_perturbations_estimate_a_slope_that_forgets_how_the_state_came_about():
    redrawn, truncated, whole = estimates(20000, 1, 4), slopes(detached=True), slopes(detached=False)
    assert redrawn == pytest.approx(truncated, abs=0.05)
    assert max(abs(t - w) for t, w in zip(truncated, whole, strict=True)) > 0.5


def test_a_run_that_was_saved_inside_a_sequence_goes_on_to_the_bit(tmp_path):
    es = strategy()
    whole, windows = PersistentES(es, start("linear")), data(8)
    for x, y in windows[:4]:
        whole.step(x, functional.mse_loss, y)
    torch.save([es.state_dict(), whole.state_dict()], tmp_path / "run.pt")
    means = [whole.step(x, functional.mse_loss, y) for x, y in windows[4:]]
    saved = torch.load(tmp_path / "run.pt", weights_only=True)
    other = PersistentES(strategy(seed=9), start("linear"))
    other.es.load_state_dict(saved[0])
    other.load_state_dict(saved[1])
    assert [other.step(x, functional.mse_loss, y) for x, y in windows[4:]] == means
    assert torch.equal(other.state["h"], whole.state["h"])
    with pytest.raises(ValueError, match="states of shapes"):
        PersistentES(strategy(pop_size=8), start("linear")).load_state_dict(saved[1])


def test_chunks_do_not_change_a_state_to_the_bit():
    states = []
    for chunk in (2, 6):
        run = PersistentES(strategy(chunk_size=chunk), start("linear"))
        for x, y in data(4):
            run.step(x, functional.mse_loss, y)
        states.append(run.state["h"])
    assert torch.equal(*states)


def test_some_members_may_begin_again():
    run = PersistentES(strategy(), start("linear"))
    for x, y in data(2):
        run.step(x, functional.mse_loss, y)
    before = run.state["h"]
    run.reset([1, 4])
    fresh = (run.state["h"] == 0.1).flatten(1).all(1)
    assert fresh.tolist() == [False, True, False, False, True, False]
    assert torch.equal(run.state["h"][~fresh], before[~fresh])


def test_members_may_live_through_windows_of_their_own():
    shared, own = (PersistentES(strategy(engine="loop"), start("linear")) for _ in range(2))
    for x, y in data(4):
        many = (t.expand(6, *t.shape) for t in (x, y))
        assert shared.step(x, functional.mse_loss, y) == own.step(*_between(many), per_member=True)
    assert torch.equal(shared.state["h"], own.state["h"])


def _between(pair):
    x, y = pair
    return x, functional.mse_loss, y


def test_a_loss_that_fails_leaves_states_and_weights_alone():
    run = PersistentES(strategy(engine="loop"), start("linear"))
    (x, y), *_ = data(1)
    run.step(x, functional.mse_loss, y)
    state, weights = run.state["h"], run.es.base_params
    with pytest.raises(ZeroDivisionError):
        run.step(x, lambda *_: 1 / 0, y)
    assert torch.equal(run.state["h"], state)
    assert all(torch.equal(run.es.base_params[name], value) for name, value in weights.items())


def test_what_can_not_be_is_refused():
    with pytest.raises(ValueError, match="at least one tensor"):
        PersistentES(strategy(), None)
    with pytest.raises(ValueError, match="windows must be in"):
        PersistentES(strategy(), start("linear"), -1)
    with pytest.raises(ValueError, match="per_member must be"):
        PersistentES(strategy(), start("linear")).step(None, functional.mse_loss, None, per_member="both")


@pytest.mark.slow
def test_ranks_carry_the_states_of_one_process_and_may_change_in_number(tmp_path):
    script = Path(__file__).parent / "recurrent_ranks.py"
    for world, begin, end in ((1, 0, 7), (2, 0, 4), (1, 4, 7)):
        command = [sys.executable, str(script), str(world), str(begin), str(end), str(tmp_path)]
        subprocess.run(command, check=True, timeout=240)
        if (world, begin) == (1, 0):
            whole = torch.load(tmp_path / "7.pt", weights_only=True)
            (tmp_path / "7.pt").unlink()
    resumed = torch.load(tmp_path / "7.pt", weights_only=True)
    assert torch.equal(whole["run"]["states"][0], resumed["run"]["states"][0])
    for name, value in whole["es"]["base_params"].items():
        assert torch.equal(value, resumed["es"]["base_params"][name])
