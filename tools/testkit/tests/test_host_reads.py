"""Whatever makes the host wait for the device is counted, where it happens; what does not is not."""

from pathlib import Path

import pytest
import torch
from testkit import count_host_reads

READS = {
    "item": lambda x: x[0].item(),
    "float": lambda x: float(x.sum()),
    "int": lambda x: int(x.long()[0]),
    "bool": lambda x: bool((x > 0).all()),
    "if": lambda x: 1 if x.sum() > 0 else 2,
    "format": lambda x: f"{x[0]:.2f}",
    "index": lambda x: "abcd"[x.long()[1]],
    "tolist": lambda x: x.tolist(),
    "numpy": lambda x: x.numpy(),
    "cpu": lambda x: x.cpu(),
    "equal": lambda x: torch.equal(x, x + 1),
    "allclose": lambda x: torch.allclose(x, x),
    "nonzero": lambda x: x.nonzero(),
    "where with one argument": lambda x: torch.where(x > 0),
    "masked_select": lambda x: x.masked_select(x > 0),
    "a mask as an index": lambda x: x[x > 0],
    "writing through a mask": lambda x: x.index_put_((x > 0,), torch.zeros(3)),
    "unique": lambda x: x.unique(),
    "a tensor as alpha": lambda x: x.add(x, alpha=x[0]),
}
NO_READS = {
    "arithmetic": lambda x: (x * 2 + 1).sqrt_(),
    "reduction": lambda x: x.norm() / x.mean(),
    "torch.where": lambda x: torch.where(x > 0, x, -x),
    "masked_fill": lambda x: x.masked_fill(x > 0, 0.0),
    "lists": lambda x: torch._foreach_add([x, x], 1.0),
    "shape": lambda x: x.shape[0] + x.numel() + x.dim(),
    "clipping": lambda x: torch.nn.utils.clip_grad_norm_([torch.nn.Parameter(x)], 1.0),
    "copying": lambda x: torch.zeros(4).copy_(x),
    "integer indices": lambda x: x[torch.tensor([0, 2])],
}


@pytest.mark.parametrize("read", READS.values(), ids=READS)
def test_a_read_is_counted_once(read):
    with count_host_reads() as reads:
        read(torch.arange(4.0))
    assert len(reads) == 1
    assert Path(__file__).name in str(reads)


@pytest.mark.parametrize("work", NO_READS.values(), ids=NO_READS)
def test_work_on_the_device_is_not_counted(work):
    with count_host_reads() as reads:
        work(torch.arange(1.0, 5.0))
    assert reads == []
    assert str(reads) == "none"


def test_reads_outside_the_block_are_not_counted():
    with count_host_reads() as reads:
        pass
    torch.ones(1).item()
    assert reads == []


def test_with_tensors_named_only_those_count():
    on_device, on_host = torch.ones(3), torch.tensor(4.0)
    with count_host_reads([on_device]) as reads:
        on_host.item()
        on_host.add_(1)
        on_host.item()
        torch.tensor(2.0).item()
        on_device[0].item()
    assert len(reads) == 1


def test_what_is_computed_from_a_named_tensor_counts_as_well():
    on_device = torch.ones(3)
    with count_host_reads([on_device]) as reads:
        total = on_device.exp().sum()
        total.item()
        copied = torch.zeros(())
        copied.copy_(total)
        copied.item()
        written = [torch.zeros(3), torch.zeros(3)]
        torch._foreach_add_(written, [on_device, on_device])
        written[1].tolist()
    assert [read.operator for read in reads] == ["aten::_local_scalar_dense"] * 2 + ["Tensor.tolist"]


def test_reads_at_one_place_are_told_together():
    with count_host_reads() as reads:
        for _ in range(3):
            torch.ones(1).item()
    assert str(reads).startswith("3 × aten::_local_scalar_dense at test_host_reads.py:")


def test_an_exception_ends_the_counting():
    with pytest.raises(ZeroDivisionError), count_host_reads() as reads:
        torch.ones(1).item() / 0
    torch.ones(1).item()
    assert len(reads) == 1
