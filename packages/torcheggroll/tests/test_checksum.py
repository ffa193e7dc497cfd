import pytest
import torch
from reference import MASK, splitmix
from torcheggroll._distributed.checksum import checksum, digest


def in_python(tensors):
    total = 0
    for tensor in tensors:
        width = tensor.element_size()
        raw = bytes(tensor.contiguous().view(-1).view(torch.uint8).tolist())
        bits = [int.from_bytes(raw[i : i + width], "little", signed=True) for i in range(0, len(raw), width)]
        total = splitmix(total + sum((2 * i + 1) * b for i, b in enumerate(bits)) + 1) & MASK
    return total


@pytest.mark.parametrize(
    "dtype", [torch.float32, torch.float64, torch.bfloat16, torch.int8, torch.bool, torch.float8_e4m3fn]
)
def test_the_checksum_is_that_of_python_integers(dtype):
    tensors = [(100 * torch.randn(shape)).to(dtype) for shape in ((7, 5), (), (0,), (3,))]
    assert checksum(tensors) == in_python(tensors)


def test_every_single_bit_counts():
    x = torch.randn(9, 4)
    seen = {checksum([x])}
    for entry in range(36):
        for bit in range(32):
            other = x.clone()
            other.view(torch.int32).view(-1)[entry] ^= 1 << bit if bit < 31 else -(1 << 31)
            seen.add(checksum([other]))
    assert len(seen) == 36 * 32 + 1


def test_strides_do_not_count_and_order_does():
    x, y = torch.randn(5, 3), torch.randn(5, 3)
    assert checksum([x.t()]) == checksum([x.t().contiguous()]) != checksum([x])
    assert checksum([x, y]) != checksum([y, x])
    assert checksum([torch.randn(2, dtype=torch.complex64)]) != 0


def test_long_tensors_are_summed_in_blocks(monkeypatch):
    x = torch.randn(1000)
    want = checksum([x])
    monkeypatch.setattr("torcheggroll._distributed.checksum._BLOCK", 7)
    assert checksum([x]) == want


def test_a_digest_is_alike_in_every_process():
    assert digest("sigma=0.1") == 5267282511316825865
    assert digest("sigma=0.1") != digest("sigma=0.2")
