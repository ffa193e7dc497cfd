"""The oracle: noise from Python integers and dense perturbed models, written from the equations."""

import copy
import math

import torch

MASK = (1 << 64) - 1
GAMMA = 0x9E3779B97F4A7C15


def splitmix(z):
    z &= MASK
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
    return z ^ (z >> 31)


def word(seed, epoch, parameter, pair, j):
    key = 0
    for part in (seed, epoch, parameter, pair):
        key = splitmix(key + part + GAMMA)
    return splitmix(key + (j + 1) * GAMMA)


def dense_members(es, indices=None):
    """Deep copies of the model, each with its perturbed weights formed in full."""
    members = []
    for i in range(es.pop_size) if indices is None else indices:
        model = copy.deepcopy(es.model).eval().requires_grad_(False)
        parameters = dict(model.named_parameters())
        deltas = es.perturbations([i])
        for name, delta in zip(es.param_names, deltas, strict=True):
            p = parameters[name]
            factored = delta.left is not None
            change = (delta.left[0].T @ delta.right[0]).reshape(p.shape) if factored else delta.dense[0]
            with torch.no_grad():
                p.copy_((p.to(change.dtype) + change).to(p.dtype))
        members.append(model)
    return members


def relative(got, want):
    return float((got.double() - want.double()).norm() / max(float(want.double().norm()), math.ulp(1.0)))
