"""σ by number, by name, by deviation, and adapted."""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional
from torcheggroll import TorchEggrollES


def net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(8, 16), nn.Tanh(), nn.Linear(16, 4))


def spread(es):
    """The deviation of each parameter's perturbations, over many members."""
    stacked = es.get_stacked_params()
    return {name: float((stacked[name] - p.detach()).std()) for name, p in es.model.named_parameters()}


def opened(**settings):
    es = TorchEggrollES(net(), pop_size=512, seed=0, **settings)
    es.ask()
    return es


def test_a_mapping_gives_each_parameter_its_own_deviation():
    es = opened(sigma={"0.weight": 0.3, "*.bias": 0.01, "*": 0.1})
    want = {"0.weight": 0.3, "0.bias": 0.01, "2.weight": 0.1, "2.bias": 0.01}
    assert spread(es) == pytest.approx(want, rel=0.1)
    assert es.sigma == 0.3


def test_relative_follows_each_parameters_deviation():
    model = net()
    with torch.no_grad():
        model[0].weight.mul_(10)
        model[2].bias.zero_()
    es = TorchEggrollES(model, pop_size=512, seed=0, sigma="relative")
    es.ask()
    own = {name: float(p.detach().std()) for name, p in model.named_parameters()}
    own["2.bias"] = sorted(v for v in own.values() if v > 0)[1]  # constant: the median of the others
    assert spread(es) == pytest.approx({name: 0.05 * value for name, value in own.items()}, rel=0.1)


def test_the_estimate_takes_every_parameters_own_sigma():
    x, y = torch.randn(32, 8), torch.randn(32, 4)
    moved = []
    for sigma in (1e-3, {"0.*": 1e-3, "2.*": 1e-4}):
        model = net().double()
        before = {name: p.detach().clone() for name, p in model.named_parameters()}
        es = TorchEggrollES(model, pop_size=4096, sigma=sigma, lr=1.0, rank=1, seed=0, scale="unbiased", fitness="raw")
        es.step(x.double(), functional.mse_loss, y.double())
        moved.append({name: p.detach() - before[name] for name, p in model.named_parameters()})
    for name in moved[0]:
        along = float((moved[0][name] * moved[1][name]).sum() / moved[0][name].square().sum())
        assert along == pytest.approx(1, abs=0.3), name  # of the wrong σ it would be 10 or 0.1


@pytest.mark.parametrize(
    ("sigma", "message"),
    [
        ({"0.*": 0.1, "head.*": 0.1}, r"\['head.\*'\] fit none of \['0.weight', '0.bias', '2.weight', '2.bias'\]"),
        ({"0.*": 0.1}, r"\['2.weight', '2.bias'\] fit none of"),
        ({"*": -0.1}, r"sigma\['\*'\] must be in"),
        ("adaptive", "must be a number, a mapping"),
    ],
)
def test_what_fits_nothing_is_an_error_that_lists_the_names(sigma, message):
    with pytest.raises(ValueError, match=message):
        TorchEggrollES(net(), sigma=sigma)


def test_sigma_by_name_survives_a_checkpoint():
    x, y = torch.randn(32, 8), torch.randn(32, 4)
    es = opened(sigma={"0.*": 0.3, "*": 0.1}, adapt_sigma=True)
    es.step(x, functional.mse_loss, y)
    other = opened(sigma=0.5)
    other.load_state_dict(copy.deepcopy(es.state_dict()))
    for run in (es, other):
        run.step(x, functional.mse_loss, y)
    assert all(torch.equal(p, q) for p, q in zip(es.model.parameters(), other.model.parameters(), strict=True))
    assert es.sigma == other.sigma


@pytest.mark.filterwarnings("ignore:σ√d must stay small")
def test_an_adapted_sigma_recovers_from_one_that_is_ten_times_too_large():
    torch.manual_seed(1)
    x = torch.randn(64, 8)
    y = torch.sin(x @ torch.randn(8, 4))
    losses = {}
    for name, settings in {
        "right": {"sigma": 0.1},
        "ten times": {"sigma": 1.0},
        "adapted": {"sigma": 1.0, "adapt_sigma": True},
    }.items():
        model = net()
        es = TorchEggrollES(model, pop_size=64, lr=0.1, rank=1, seed=0, scale="paper", **settings)
        for _ in range(150):
            es.step(x, functional.mse_loss, y)
        losses[name] = functional.mse_loss(model(x), y).item()
    assert losses["adapted"] < 1.2 * losses["right"]
    assert losses["ten times"] > 1.5 * losses["adapted"]


@pytest.mark.parametrize("shaping", ["zscore", "question"])
@pytest.mark.parametrize("unit", [1e-9, 1e-200, 1e9])
def test_a_z_score_has_no_unit(unit, shaping):
    scores = torch.randn(8, dtype=torch.float64)
    moved = []
    for factor in (1.0, unit):
        es = TorchEggrollES(net(), pop_size=8, seed=0, sigma=0.1, fitness=shaping)
        es.ask()
        es.tell(scores * factor)
        moved.append(torch.cat([p.detach().flatten() for p in es.model.parameters()]))
    assert torch.allclose(moved[0], moved[1], rtol=1e-6, atol=1e-7)
