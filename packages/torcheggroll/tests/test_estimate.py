"""What the estimate is worth: its angle to the true gradient, and its length."""

import pytest
import torch
from torch import nn
from torch.nn import functional
from torcheggroll import TorchEggrollES

D = 1_386  # numbers in the net


def net_and_gradient():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(32, 32), nn.Tanh(), nn.Linear(32, 10)).double()
    x, y = torch.randn(64, 32, dtype=torch.float64), torch.randint(0, 10, (64,))
    functional.cross_entropy(net(x), y).backward()
    gradient = torch.cat([-p.grad.flatten() for p in net.parameters()])  # of the fitness
    net.zero_grad()
    assert gradient.numel() == D
    return net, x, y, gradient


def estimate(net, x, y, rank, population, seed, scale="unbiased", antithetic=True):
    """The direction of ascent, as a gradient descent with learning rate 1 would take it."""
    before = torch.cat([p.detach().flatten() for p in net.parameters()])
    es = TorchEggrollES(
        net, pop_size=population, sigma=1e-4, lr=1.0, rank=rank, seed=seed, scale=scale, fitness="raw",
        antithetic=antithetic, small_matrices="factored",
    )  # fmt: skip
    state = es.state_dict()
    es.step(x, functional.cross_entropy, y)
    moved = torch.cat([p.detach().flatten() for p in net.parameters()]) - before
    es.load_state_dict(state)
    return moved


def cosine(a, b):
    return float(a @ b / a.norm() / b.norm())


SLOW = [pytest.param(n, marks=pytest.mark.slow) for n in (4_096, 32_768)]


@pytest.mark.parametrize("population", [512, *SLOW])
@pytest.mark.parametrize("rank", [1, 4, 16])
def test_the_angle_to_the_gradient_is_that_of_as_many_random_directions(rank, population):
    net, x, y, gradient = net_and_gradient()
    pairs = population / 2
    draws = [cosine(estimate(net, x, y, rank, population, seed), gradient) for seed in range(2)]
    assert sum(draws) / 2 == pytest.approx((pairs / (pairs + D)) ** 0.5, abs=0.03)


@pytest.mark.parametrize("population", [512, *SLOW])
@pytest.mark.parametrize("rank", [1, 4, 16])
def test_unbiased_has_the_length_of_the_gradient_once_the_variance_is_taken_off(rank, population):
    """Two independent draws share the gradient and nothing else: ĝ₁·ĝ₂ is ‖g‖² without the variance term."""
    net, x, y, gradient = net_and_gradient()
    draws = torch.stack([estimate(net, x, y, rank, population, seed) for seed in range(max(8_192 // population, 2))])
    products = draws @ draws.T
    apart = products[~torch.eye(len(draws), dtype=torch.bool)].mean()
    assert float(apart.sqrt() / gradient.norm()) == pytest.approx(1, abs=0.05)
    assert float(draws.mean(0) @ gradient / gradient.square().sum()) == pytest.approx(1, abs=0.05)


@pytest.mark.parametrize(("scale", "factor"), [("paper", 1e-4), ("hyperscale", 1e-4 * 1e-4 * 512**0.5)])
def test_the_other_scales_are_multiples_of_it(scale, factor):
    net, x, y, _ = net_and_gradient()
    unbiased, other = (estimate(net, x, y, 4, 512, 0, scale=s) for s in ("unbiased", scale))
    assert torch.allclose(other, factor * unbiased, rtol=1e-6, atol=1e-9 * factor)


def test_a_pair_estimates_far_better_than_two_members_alone():
    net, x, y, gradient = net_and_gradient()
    mirrored, alone = (cosine(estimate(net, x, y, 4, 512, 0, antithetic=a), gradient) for a in (True, False))
    assert mirrored > 0.3 > abs(alone)


@pytest.mark.parametrize("size", [(1, 64), (64, 1)])
def test_a_matrix_of_one_row_or_column_takes_dense_noise(size):
    """Factors of a vector would take more numbers and tell less: cosine 0.65 where dense noise has 0.82."""
    torch.manual_seed(0)
    direction = torch.randn(size)
    angles = {}
    for kind in ("dense", "factored"):
        found = []
        for seed in range(8):
            weight = nn.Parameter(torch.zeros(size))
            model = nn.Module()
            model.weight = weight
            model.forward = lambda x, w=weight: (w * x).sum()
            es = TorchEggrollES(
                model, pop_size=256, sigma=1e-3, lr=1.0, rank=1, seed=seed, scale="unbiased", fitness="raw",
                small_matrices=kind, engine="loop",
            )  # fmt: skip
            es.step(direction, lambda out, _: -out)
            found.append(cosine(weight.detach().flatten(), direction.flatten()))
        angles[kind] = sum(found) / len(found)
    assert angles["dense"] >= 0.80
    assert angles["factored"] < angles["dense"] - 0.1


def test_a_linear_model_of_one_output_learns_as_by_dense_noise():
    losses = {}
    for kind in ("ours", "dense by hand"):
        total = 0.0
        for seed in range(4):
            torch.manual_seed(seed)
            x, true = torch.randn(256, 16), torch.randn(16, 1)
            model, y = nn.Linear(16, 1), x @ true
            if kind == "ours":
                es = TorchEggrollES(model, pop_size=32, sigma=0.05, lr=0.1, rank=1, seed=seed, scale="paper")
                for _ in range(60):
                    es.step(x, functional.mse_loss, y)
            else:
                theta = torch.cat([model.weight.detach().flatten(), model.bias.detach()])
                for _ in range(60):
                    z = torch.randn(16, 17)
                    some = torch.cat([theta + 0.05 * z, theta - 0.05 * z])
                    s = -((x @ some[:, :16].T + some[:, 16] - y) ** 2).mean(0)
                    f = (s - s.mean()) / s.std()
                    theta = theta + 0.1 / 32 * (f[:16] - f[16:]) @ z
                with torch.no_grad():
                    model.weight.copy_(theta[:16].view(1, 16))
                    model.bias.copy_(theta[16:])
            total += functional.mse_loss(model(x), y).item()
        losses[kind] = total
    assert losses["ours"] <= 1.2 * losses["dense by hand"]
