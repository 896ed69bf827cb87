"""Data parallelism by hand: every process takes its rows of the batch, and the gradients are added up.

Start a script on two processes with `torchrun --nproc_per_node=2 script.py` and call `join()` at its
beginning. Each process draws the same batches (equal seeds) and works on every world-th row. With n rows here
and N in the whole batch, a mean loss over the shard is weighted by n / N; the sum of the gradients over the
processes is then the gradient of the mean over the whole batch, which is what a single process computes, up to
the order of addition. It is so for uneven and even empty shards. It is not so for what looks at the whole
batch (batch norm) or draws random numbers (dropout).
"""

import os
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

__all__ = [
    "add_up",
    "broadcast_model",
    "gather",
    "is_joined",
    "join",
    "leave",
    "place",
    "shard",
    "total",
    "wait_for_all",
]


def join(backend: str = "gloo") -> tuple[int, int]:
    """Join the group of processes that torchrun started.

    Args:
        backend: torch.distributed's, "gloo" for CPUs.

    Returns:
        (own rank, number of processes); (0, 1) without torchrun.
    """
    if "RANK" in os.environ and "WORLD_SIZE" in os.environ and not dist.is_initialized():
        dist.init_process_group(backend)
    return place()


def leave() -> None:
    """Leave the group, at the end of a script."""
    if is_joined():
        dist.destroy_process_group()


def is_joined() -> bool:
    """True in a process that belongs to a group."""
    return dist.is_available() and dist.is_initialized()


def place() -> tuple[int, int]:
    """(own rank, number of processes)."""
    return (dist.get_rank(), dist.get_world_size()) if is_joined() else (0, 1)


def shard(rows: Tensor) -> Tensor:
    """This process's rows: every world-th, from its rank.

    Args:
        rows: shape (N, *).

    Returns:
        A view of some of them; may be empty. All of them outside a group.
    """
    rank, world = place()
    return rows[rank::world] if world > 1 else rows


def broadcast_model(model: nn.Module) -> None:
    """Give every process the parameters and buffers of process 0."""
    if is_joined():
        for tensor in model.state_dict().values():
            dist.broadcast(tensor, src=0)


def add_up(model: nn.Module, loss: Tensor) -> Tensor:
    """Add the gradients and the loss over the processes, in one message.

    A parameter that has no gradient in one process counts as 0 there; one that has none in any process keeps none.
    Sums are taken in at least float32.

    Args:
        model: its gradients are replaced by the sums.
        loss: this process's share, shape ().

    Returns:
        The sum of the losses.
    """
    if not is_joined():
        return loss
    parameters = [p for p in model.parameters() if p.requires_grad]
    present = torch.tensor([float(p.grad is not None) for p in parameters], device=loss.device)
    gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
    # Sums are taken in at least float32; a float64 gradient keeps its precision.
    dtype = torch.float32
    for g in gradients:
        dtype = torch.promote_types(dtype, g.dtype)
    flat = torch.cat(
        [loss.to(dtype).reshape(1), present.to(dtype), *(g.to(dtype).flatten() for g in gradients)]
    )
    dist.all_reduce(flat)
    loss, present, rest = flat[0].to(loss.dtype), flat[1 : 1 + len(parameters)], flat[1 + len(parameters) :]
    for p, here, g in zip(
        parameters, present.tolist(), rest.split([p.numel() for p in parameters]), strict=True
    ):
        p.grad = g.view_as(p).to(p.dtype) if here else None
    return loss


def total(values: Tensor) -> Tensor:
    """The sum over the processes."""
    if is_joined():
        dist.all_reduce(values)
    return values


def gather(item: Any) -> list[Any]:
    """Everybody's item, in order of rank."""
    if not is_joined():
        return [item]
    items: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(items, item)
    return items


def wait_for_all() -> None:
    """Go on when every process has come here."""
    if is_joined():
        dist.barrier()
