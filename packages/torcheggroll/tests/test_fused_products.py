"""The C++ product with the low-rank part inside, against float64 by hand; and what a step costs beside arithmetic."""

import platform
import resource

import pytest
import torch
from torch import nn
from torch.nn import functional
from torcheggroll import TorchEggrollES
from torcheggroll._ops import fused_cpu
from torcheggroll._ops.layer import Layer

needs_kernels = pytest.mark.skipif(fused_cpu.kernels() is None, reason="needs a C++ compiler")
SIZES = [(3, 1, 16, 16), (2, 5, 7, 3), (4, 13, 40, 33), (3, 12, 513, 64), (2, 50, 1100, 290), (5, 3, 1, 1)]


def made(members, rows, n, m, rank, dtype, biased=True):
    torch.manual_seed(0)
    weight, bias, shift = torch.randn(m, n), torch.randn(m), torch.randn(members, m)
    given = (weight, bias if biased else None, torch.randn(members, rank, m), torch.randn(members, rank, n), shift)
    layer = Layer(*(None if t is None else t.to(dtype) for t in given))
    return torch.randn(members * rows, n).to(dtype), layer if biased else layer._replace(bias_delta=None)


def by_hand(x, layer):
    """Forms every member's matrix in float64."""
    weight, bias, left, right, shift = (None if t is None else t.double() for t in layer[:5])
    dense = weight + left.transpose(1, 2) @ right
    y = x.double().view(len(left), -1, x.shape[1]) @ dense.transpose(1, 2)
    for part in (bias, None if shift is None else shift.unsqueeze(1)):
        y = y if part is None else y + part
    return y.flatten(0, 1)


@needs_kernels
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("rank", [1, 3, 6])
@pytest.mark.parametrize("biased", [True, False])
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_the_product_is_that_of_dense_members(size, biased, rank, dtype):
    x, layer = made(*size, rank, dtype, biased)
    want = by_hand(x, layer)
    unit = 1e-5 if dtype == torch.float32 else 1e-13
    assert (fused_cpu.product(x, layer) - want).abs().max() <= unit * want.abs().max()


@needs_kernels
def test_a_transposed_matrix_is_read_where_it_lies():
    x, layer = made(3, 20, 40, 33, 2, torch.float32)
    turned = layer._replace(weight=layer.weight.t().contiguous().t())
    assert torch.equal(fused_cpu.product(x, layer), fused_cpu.product(x, turned))


@needs_kernels
@pytest.mark.parametrize("rows", [1, 5, 12, 50])
def test_a_row_has_the_same_bits_in_any_company_and_on_any_number_of_threads(rows):
    x, layer = made(9, rows, 600, 300, 4, torch.float32)
    whole = fused_cpu.product(x, layer)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        assert torch.equal(whole, fused_cpu.product(x, layer))
    finally:
        torch.set_num_threads(before)
    for first, last in ((0, 1), (1, 3), (4, 9)):
        own = [None if t is None else t[first:last] for t in (layer.left, layer.right, layer.bias_delta)]
        part = fused_cpu.product(x[first * rows : last * rows], Layer(layer.weight, layer.bias, *own))
        assert torch.equal(part, whole[first * rows : last * rows])


@needs_kernels
def test_a_large_matrix_and_few_rows_go_to_the_library():
    small, large = (Layer(torch.empty(m, 1024, device="meta"), *[None] * 4) for m in (1024, 1025))
    assert fused_cpu.fits_product(small, 1)
    assert not fused_cpu.fits_product(large, 15)
    assert fused_cpu.fits_product(large, 16)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="needs glibc")
def test_a_step_faults_few_pages_once_it_is_warm():
    model = nn.Sequential(nn.Linear(64, 256), nn.ReLU(), nn.Linear(256, 256), nn.ReLU(), nn.Linear(256, 4))
    es = TorchEggrollES(model, 64, seed=0, engine="fold", chunk_size=32)
    x, y = torch.randn(64, 128, 64), torch.randint(0, 4, (64, 128))
    for _ in range(3):
        es.step(x, functional.cross_entropy, y, per_member=True)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    es.step(x, functional.cross_entropy, y, per_member=True)
    faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
    activations = 64 * 128 * 256 * 4 * 4 // resource.getpagesize()
    assert faults < activations // 10
