"""Cut large tensors and pack small ones, so that elementwise work stays in the processor's cache.

Every operation of the method treats each element alone: what a piece computes, the whole would have computed. On the
CPU a large tensor would otherwise travel through memory once per operation, and a thousand small ones would each pay
the price of a call.
"""

# torch's operations on lists are private by name only.
# pyright: reportPrivateUsage=false, reportPrivateImportUsage=false

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

# Elements that one thread works on at a time: few enough for its cache, enough to hide what a call costs.
GRAIN = 131072
# Below this many elements, copying a tensor into a pack and back costs less than calling each operation on it.
SMALL = 8192

Row = tuple[Tensor, ...]
Work = Callable[..., None]


def block_size() -> int:
    """Return how many elements a piece holds: one grain for each of torch's threads."""
    return GRAIN * torch.get_num_threads()


def in_pieces(rows: Sequence[Row], work: Work, read_only: int) -> None:
    """Call ``work(*row)`` on pieces of the rows, whole tensors never larger than a block.

    Args:
        rows: each holds one parameter's tensors, of one shape, dtype and device; all rows are alike.
        work: changes its arguments in place, element by element.
        read_only: the place in a row of the tensor that ``work`` leaves alone.
    """
    size = block_size()
    pack: list[Row] = []
    filled = 0
    for row in rows:
        length = row[0].numel()
        if SMALL < length <= size or not all(tensor.is_contiguous() for tensor in row):
            work(*row)
        elif length > size:
            _in_blocks(row, work, size)
        else:
            if filled + length > size:
                _packed(pack, work, read_only)
                pack, filled = [], 0
            pack.append(row)
            filled += length
    _packed(pack, work, read_only)


def _in_blocks(row: Row, work: Work, size: int) -> None:
    for block in zip(*(torch.split(tensor.view(-1), size) for tensor in row), strict=True):
        work(*block)


def _packed(rows: list[Row], work: Work, read_only: int) -> None:
    if len(rows) <= 1:
        for row in rows:
            work(*row)
        return
    sizes = [row[0].numel() for row in rows]
    columns = [[x if x.dim() == 1 else x.view(-1) for x in column] for column in zip(*rows, strict=True)]
    packed = [torch.cat(column) for column in columns]
    work(*packed)
    for place, (column, pack) in enumerate(zip(columns, packed, strict=True)):
        if place != read_only:
            torch._foreach_copy_(column, torch.split(pack, sizes))
