"""How the work of a step is cut into calls of a rule's in-place form."""

from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import Tensor

from ._ops import Ops, Room, many, one, one_in

HALF = (torch.float16, torch.bfloat16)
WHOLE = 2**20  # elements per thread, 4 MiB of float32 an operand: a cache holds all operands
BLOCK = 2**19  # elements per thread of a block, where a tensor is larger
BATCH = 2**18  # elements of small tensors that share a call
SMALL = 32_768  # elements: below this the cost of a call outweighs the cost of the arithmetic
WIDENED = 2**26  # elements of half precision that are widened to float32 at a time: 512 MiB

Columns = tuple[list[Tensor], ...]  # one list per state name, in the parameters' order
Call = tuple[Ops, Any, Any, Any]  # ops, theta, g, state: tensors for `one`, lists for `many`


def plan(
    thetas: list[Tensor],
    gs: list[Tensor],
    columns: Columns,
    *,
    foreach: bool | None,
    elementwise: bool,
    in_lists: bool,
    reads_once: bool,
) -> Iterator[Call]:
    """The calls that update tensors of one device and dtype.

    Args:
        thetas, gs, columns: parameters, gradients, and one list per state name; all of one length.
        foreach: True for one list, False for one tensor at a time, None for what is fastest: on a CPU blocks of
            large tensors and lists of small ones, elsewhere lists.
        elementwise: whether a tensor may be cut.
        in_lists: whether the in-place form takes lists.
        reads_once: whether no operand is read twice, so that a cache is of no use.
    """
    if foreach is False or not in_lists:
        for theta, g, *state in zip(thetas, gs, *columns, strict=True):
            yield one, theta, g, tuple(state)
        return
    cached = foreach is None and not reads_once and thetas[0].device.type == "cpu"
    if not cached and thetas[0].dtype not in HALF:
        yield many, thetas, gs, columns
        return
    limit = BATCH if cached else WIDENED
    sizes = [theta.numel() for theta in thetas]
    room = Room()
    ops_in_room = one_in(room) if cached and max(sizes) > SMALL else one
    batch: list[int] = []
    held = 0
    for i, size in enumerate(sizes):
        if cached and size > SMALL:
            operands = (thetas[i], gs[i], *[column[i] for column in columns])
            if not elementwise or not all(x.is_contiguous() for x in operands):
                yield one, operands[0], operands[1], operands[2:]
                continue
            for theta, g, *state in _blocks(operands):
                room.taken = 0
                yield ops_in_room, theta, g, tuple(state)
            continue
        if batch and held + size > limit:
            yield many, *pick(batch, thetas, gs, columns)
            batch, held = [], 0
        batch.append(i)
        held += size
    if batch:
        whole = len(batch) == len(thetas)
        yield (many, thetas, gs, columns) if whole else (many, *pick(batch, thetas, gs, columns))


def _blocks(operands: tuple[Tensor, ...]) -> Iterable[tuple[Tensor, ...]]:
    """Contiguous tensors of one size, cut alike."""
    threads = torch.get_num_threads()
    if operands[0].numel() <= WHOLE * threads:
        return (operands,)
    length = BLOCK * threads
    return zip(*(torch.split(x.view(-1), length) for x in operands), strict=True)


def pick(
    indices: list[int], thetas: list[Tensor], gs: list[Tensor], columns: Columns
) -> tuple[Any, Any, Columns]:
    """The named entries of every column."""
    return (
        [thetas[i] for i in indices],
        [gs[i] for i in indices],
        tuple([[column[i] for i in indices] for column in columns]),
    )


def one_kind(
    thetas: list[Tensor],
    gs: list[Tensor],
    columns: Columns,
    clocks: list[tuple[Any, ...]],
    *,
    ignore_clock: bool,
) -> Iterator[tuple[tuple[Any, Any, Columns], list[tuple[Any, ...]]]]:
    """Split the columns so that one call can update each part: one device, one dtype, one step number."""
    one_time = ignore_clock or clocks.count(clocks[0]) == len(clocks)
    if (
        one_time
        and len({theta.dtype for theta in thetas}) == 1
        and len({theta.device for theta in thetas}) == 1
    ):
        yield (thetas, gs, columns), clocks
        return
    kinds: list[Any] = [(theta.device, theta.dtype) for theta in thetas]
    if not ignore_clock:
        kinds = list(zip(kinds, clocks, strict=True))
    indices: dict[Any, list[int]] = {}
    for i, kind in enumerate(kinds):
        indices.setdefault(kind, []).append(i)
    for part in indices.values():
        yield pick(part, thetas, gs, columns), [clocks[i] for i in part]
