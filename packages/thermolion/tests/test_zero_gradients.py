"""Elements whose gradient is zero: how far noise moves them, and `skip_zero_grad`, which leaves them alone."""

import math

import pytest
import torch
from thermolion import ThermoLion
from torch.nn import Parameter

DTYPES = [torch.float64, torch.float32, torch.bfloat16, torch.float16]
LARGEST = math.sqrt(-2 * math.log(2**-32))  # |ξ| of (13), whose u is at least 2⁻³²


@pytest.mark.parametrize("scale", [1.0, 0.01, 0.0])
def test_noise_moves_a_padding_row_by_no_more_than_the_readme_says(path, scale):
    lr, worst = 1e-3, 0.0
    weight = Parameter(torch.zeros(2, 1000, dtype=torch.float64))
    optimizer = ThermoLion([weight], lr=lr, weight_decay=0.0, seed=0, **path)
    generator = torch.Generator().manual_seed(0)
    for _ in range(100):
        weight.grad = torch.zeros_like(weight)
        weight.grad[1] = scale * torch.randn(1000, generator=generator)
        before = weight.detach().clone()
        optimizer.step()
        state = optimizer.state[weight]
        sigma = math.sqrt(state["temp"].item() * state["v"].mean().item() + 1e-10)
        moved = (weight.detach() - before)[0].abs().max().item()
        assert moved <= lr * sigma * LARGEST
        worst = max(worst, moved / (lr * sigma))
    assert worst > 3.5  # the bound is of the right size
    assert LARGEST < 6.67  # the README's number


def run(path, dtype, settings, skip):
    generator = torch.Generator().manual_seed(3)
    shapes = [(3,), (1, 50), (700,), (3000,), (70_000,), *[(9,)] * 4]
    params = [Parameter(torch.randn(shape, generator=generator).to(dtype)) for shape in shapes]
    params.append(Parameter(torch.randn(60, 90, generator=generator).to(dtype)[:, ::2]))
    optimizer = ThermoLion(params, seed=1, lr=0.01, skip_zero_grad=skip, **path, **settings)
    steps = []
    for t in range(3):
        before = [(p.detach().clone(), *(optimizer.state[p][n].clone() for n in "mv" if t)) for p in params]
        for param in params:
            noise = torch.randn(param.shape, generator=generator)
            param.grad = (noise * (noise.abs() > 0.7)).to(dtype)
        optimizer.step()
        after = [(p.detach().clone(), *(optimizer.state[p][n].clone() for n in "mv" if t)) for p in params]
        steps.append((before, after, [p.grad for p in params]))
    return steps


SETTINGS = [{}, {"temp_decay": 1e-3, "weight_decay": 0.5}, {"maximize": True}]


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_skipped_elements_keep_their_bits(path, dtype, settings):
    settings = {**settings, "stochastic_rounding": dtype == torch.bfloat16}
    for before, after, grads in run(path, dtype, settings, skip=True):
        for old, new, g in zip(before, after, grads, strict=True):
            for a, b in zip(old, new, strict=True):
                assert torch.equal(a[g == 0], b[g == 0])
            assert (old[0] != new[0])[g != 0].double().mean() > 0.9  # the others move, where the dtype can say so


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_the_other_elements_step_as_without_the_option(path, dtype, settings):
    """At the first step, from the same state; afterwards the moments of what was skipped differ."""
    skipping, plain = (run(path, dtype, settings, skip)[0] for skip in (True, False))
    for (a, *_), (b, *_), g in zip(skipping[1], plain[1], plain[2], strict=True):
        assert torch.equal(a[g != 0], b[g != 0])
        assert a.numel() < 500 or not torch.equal(a, b)


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_every_path_skips_the_same(path, settings):
    reference = {"foreach": False, "fused": False}
    ours, theirs = (run(p, torch.float32, settings, skip=True)[-1][1] for p in (path, reference))
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=3e-6, atol=3e-6)


def test_a_row_without_gradient_ever_stays_where_it_began():
    embedding = torch.nn.Embedding(50, 8, padding_idx=0)
    start = embedding.weight.detach().clone()
    optimizer = ThermoLion(embedding.parameters(), lr=0.1, skip_zero_grad=True)
    for token in range(1, 40):
        optimizer.zero_grad()
        embedding(torch.tensor([0, token])).square().sum().backward()
        optimizer.step()
    assert torch.equal(embedding.weight[0], start[0])
    assert torch.equal(embedding.weight[40:], start[40:])
    assert not torch.equal(embedding.weight[1:40], start[1:40])


def test_the_option_is_true_or_false():
    with pytest.raises(TypeError, match="skip_zero_grad must be True or False, got 1"):
        ThermoLion([torch.zeros(2, requires_grad=True)], skip_zero_grad=1)
