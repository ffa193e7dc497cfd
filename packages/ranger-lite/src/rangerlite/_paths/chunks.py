"""Cuts large tensors and packs small ones, so that elementwise work stays in the processor's cache.

Every operation of the method is elementwise, so chunks give the same results as whole tensors. Without chunks, a large
tensor on the CPU would be read from memory once per operation, and each of many small tensors would cost the overhead
of a call.
"""

# torch's operations on lists are private by name only.
# pyright: reportPrivateUsage=false, reportPrivateImportUsage=false

from collections.abc import Generator

import torch

from .._batch import Batch

# Elements that one thread works on at a time: few enough for its cache, enough to hide what a call costs.
GRAIN = 262144
# Below this many elements, copying a tensor into a pack and back costs less than calling each operation on it.
SMALL = 8192


def chunk_size() -> int:
    """Returns how many elements a chunk holds: one grain for each of torch's threads."""
    return GRAIN * torch.get_num_threads()


def chunks(batch: Batch) -> Generator[Batch]:
    """Yields batches of at most `chunk_size` elements that together are ``batch``, without step counts.

    Whoever takes one changes its tensors in place, except the gradients; packed tensors are copied back when the next
    chunk is asked for.

    Args:
        batch: tensors of one dtype and device.
    """
    size = chunk_size()
    pack: list[int] = []
    filled = 0
    batch = batch._replace(step=[])
    for i, theta in enumerate(batch.theta):
        length = theta.numel()
        if SMALL < length <= size or not all(column[i].is_contiguous() for column in batch if column):
            yield batch.select([i])
        elif length > size:
            yield from _cut(batch.select([i]), size)
        else:
            if filled + length > size:
                yield from _packed(batch.select(pack))
                pack, filled = [], 0
            pack.append(i)
            filled += length
    if pack:
        yield from _packed(batch.select(pack))


def _cut(batch: Batch, size: int) -> Generator[Batch]:
    """Yields the blocks of one large tensor."""
    parts = [torch.split(column[0].view(-1), size) if column else () for column in batch]
    for i in range(len(parts[0])):
        yield Batch(*([part[i]] if part else [] for part in parts))


def _packed(batch: Batch) -> Generator[Batch]:
    """Yields many small tensors as one."""
    if len(batch.theta) == 1:
        yield batch
        return
    flat = Batch(*([x if x.dim() == 1 else x.view(-1) for x in column] for column in batch))
    pack = Batch(*([torch.cat(column)] if column else [] for column in flat))
    yield pack
    sizes = [theta.numel() for theta in batch.theta]
    for column, packed in zip(flat, pack, strict=True):
        if packed and column is not flat.grad:
            torch._foreach_copy_(column, torch.split(packed[0], sizes))
