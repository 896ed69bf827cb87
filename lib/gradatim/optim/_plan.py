"""How the work of a step is cut into calls of a rule's in-place form."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from ._ops import Ops, many, one

HALF = (torch.float16, torch.bfloat16)
BLOCK = 262_144  # elements per thread, 1 MiB of float32 an operand: calls cost little and a cache holds all
BATCH = BLOCK  # elements of small tensors that share a call
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
    batch: list[int] = []
    held = 0
    for i, size in enumerate([theta.numel() for theta in thetas]):
        if cached and size > SMALL:
            yield from _blocks(
                thetas[i], gs[i], tuple([column[i] for column in columns]), elementwise=elementwise
            )
            continue
        if batch and held + size > limit:
            yield many, *pick(batch, thetas, gs, columns)
            batch, held = [], 0
        batch.append(i)
        held += size
    if batch:
        whole = len(batch) == len(thetas)
        yield (many, thetas, gs, columns) if whole else (many, *pick(batch, thetas, gs, columns))


def _blocks(theta: Tensor, g: Tensor, state: tuple[Tensor, ...], *, elementwise: bool) -> Iterator[Call]:
    length = BLOCK * torch.get_num_threads()
    operands = (theta, g, *state)
    if not elementwise or theta.numel() <= length or not all(x.is_contiguous() for x in operands):
        yield one, theta, g, state
        return
    for theta_block, g_block, *blocks in zip(
        *(torch.split(x.view(-1), length) for x in operands), strict=True
    ):
        yield one, theta_block, g_block, tuple(blocks)


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
