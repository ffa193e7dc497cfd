import warnings

import pytest
import torch
from torch import nn
from torcheggroll import TorchEggrollES


class Bowl(nn.Module):
    """f(w) = slope · w - curvature/2 · |w|²: both parts of the fitness are known."""

    def __init__(self, d=400):
        super().__init__()
        self.w = nn.Parameter(torch.zeros(d))


def steps(sigma, slope, curvature, count=3, **settings):
    es = TorchEggrollES(Bowl(), pop_size=32, sigma=sigma, lr=0.0, seed=0, **settings)
    for _ in range(count):
        es.step(lambda m: float((slope * m.w).sum() - curvature / 2 * m.w.square().sum()))
    return es


def test_the_signal_compares_slope_with_curvature():
    sigma, slope, curvature, d = 0.1, 0.3, 2.0, 400
    es = steps(sigma, slope, curvature)
    # odd part σ g·z, deviation σ|g|; even part σ² c/2 |z|², deviation σ² c/2 √(2d)
    want = sigma * slope * d**0.5 / (sigma**2 * curvature / 2 * (2 * d) ** 0.5)
    assert es.diagnostics.pair_signal == pytest.approx(want, rel=0.5)
    assert es.diagnostics.sigma_root_d == pytest.approx(sigma * d**0.5)


def test_a_run_outside_the_linear_regime_is_told_once_what_to_do():
    with pytest.warns(
        UserWarning, match=r"σ√d must stay small .* got 20 at sigma=1, .* lower sigma towards 0.05"
    ) as seen:
        es = steps(1.0, 0.01, 2.0)
    assert len(seen) == 1
    assert es.epoch == 3


@pytest.mark.parametrize(
    ("sigma", "slope", "curvature"),
    [(1.0, 5.0, 0.01), (0.01, 0.0001, 1.0)],
    ids=["large steps on a straight slope", "small steps on a curved one"],
)
def test_one_sign_alone_is_no_reason_to_warn(sigma, slope, curvature):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        steps(sigma, slope, curvature)


def test_without_pairs_nothing_is_claimed():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        es = steps(1.0, 0.01, 2.0, antithetic=False)
    assert es.diagnostics.pair_signal != es.diagnostics.pair_signal


def test_statistics_leave_out_members_without_a_fitness():
    es = TorchEggrollES(Bowl(), pop_size=4, seed=0)
    es.ask()
    es.tell([1.0, float("nan"), 3.0, 5.0])
    assert (es.diagnostics.fitness_mean, es.diagnostics.fitness_max, es.diagnostics.fitness_min) == (3.0, 5.0, 1.0)
    assert es.diagnostics.fitness_std == pytest.approx(2.0)
