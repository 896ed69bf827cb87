"""The learning-rate range test: train for a few steps while the learning rate grows, and watch the loss."""

import copy
import math
from collections.abc import Callable, Iterable
from itertools import pairwise
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from .._check import checked, numbers_in, require, require_type, shown
from .base import require_count, require_optimizer, require_step, write_lr


@checked
def range_test_lr(t: int, start_lr: float, end_lr: float, num_iters: int) -> float:
    """Learning rates in geometric progression.

        lr(t) = start_lr * (end_lr / start_lr)**(t / (num_iters - 1))

    Args:
        t: step, counted from 0.
        start_lr: at t = 0, > 0.
        end_lr: at t = num_iters - 1, > 0.
        num_iters: their number, >= 2.

    Returns:
        The learning rate of step t.

    Raises:
        ValueError: t < 0; a setting out of range.

    >>> [round(range_test_lr(t, 0.01, 100.0, num_iters=5), 6) for t in range(5)]
    [0.01, 0.1, 1.0, 10.0, 100.0]
    """
    require(start_lr > 0, "range_test_lr", "start_lr", "> 0", start_lr)
    require(end_lr > 0, "range_test_lr", "end_lr", "> 0", end_lr)
    require_count("range_test_lr", "num_iters", num_iters, least=2)
    require_step("range_test_lr", t)
    return start_lr * (end_lr / start_lr) ** (t / (num_iters - 1))


@checked
def smoothed(losses: Iterable[float], beta: float = 0.9) -> list[float]:
    """Exponential moving average without the pull towards 0 of its start.

        m_t = beta * m_{t-1} + (1 - beta) * loss_t,   m_0 = 0
        s_t = m_t / (1 - beta**t)

    Args:
        losses: numbers, one per step.
        beta: weight of the past, in [0, 1).

    Returns:
        The averages s_t, as many as the losses.

    Raises:
        TypeError: `losses` holds something else than numbers.
        ValueError: beta outside [0, 1).

    >>> [round(s, 6) for s in smoothed([4.0, 4.0, 1.0], beta=0.5)]   # (4/8 + 4/4 + 1/2) / (7/8)
    [4.0, 4.0, 2.285714]
    """
    require(0 <= beta < 1, "smoothed", "beta", "in [0, 1)", beta)
    m, out = 0.0, []
    for t, loss in enumerate(numbers_in("smoothed", "losses", losses), start=1):
        m = beta * m + (1 - beta) * loss
        out.append(m / (1 - beta**t))
    return out


def steepest_lr(lrs: list[float], losses: list[float]) -> float | None:
    """The learning rate where the loss falls fastest with log(lr), up to its minimum.

    Not the learning rate of the lowest loss: there training is about to diverge.

    Args:
        lrs: learning rates > 0, increasing, at least one.
        losses: the loss at each.

    Returns:
        One of `lrs`; None if the loss never falls.

    Raises:
        TypeError: something else than numbers.
        ValueError: no numbers, not as many losses, or not increasing rates.

    >>> steepest_lr([0.1, 1.0, 10.0, 100.0], [4.0, 3.5, 1.0, 9.0])   # slopes per decade: -.5, -1.5 at 1.0
    1.0
    """
    lrs, losses = numbers_in("steepest_lr", "lrs", lrs, 1), numbers_in("steepest_lr", "losses", losses, 1)
    require(len(lrs) == len(losses), "steepest_lr", "losses", f"as many as the {len(lrs)} lrs", len(losses))
    rising = lrs[0] > 0 and all(a < b for a, b in pairwise(lrs))
    require(rising, "steepest_lr", "lrs", "positive and increasing", lrs)
    stop = min(range(len(losses)), key=losses.__getitem__)
    best, best_slope = None, 0.0
    for i in range(stop):  # central differences inside, one-sided at the start
        low, high = max(i - 1, 0), i + 1
        slope = (losses[high] - losses[low]) / (math.log(lrs[high]) - math.log(lrs[low]))
        if slope < best_slope:
            best, best_slope = lrs[i], slope
    return best


class RangeTest(NamedTuple):
    """What `lr_range_test` saw.

    Args:
        lrs: the learning rate of every step.
        losses: the loss before that step.
        smoothed: the losses' `smoothed` average.
        suggestion: `steepest_lr` of the smoothed losses.
    """

    lrs: list[float]
    losses: list[float]
    smoothed: list[float]
    suggestion: float | None


@checked
def lr_range_test(
    model: nn.Module,
    optimizer: Optimizer,
    loss_fn: Callable[[nn.Module, Any], Tensor],
    batches: Iterable[Any],
    *,
    start_lr: float = 1e-6,
    end_lr: float = 10.0,
    num_iters: int = 100,
    beta: float = 0.9,
    divergence: float = 4.0,
) -> RangeTest:
    """Train for at most `num_iters` steps while the learning rate grows from `start_lr` to `end_lr`.

    Afterwards the model (parameters, buffers, gradients, train/eval mode), the optimizer (state and learning
    rates) and torch's random state are as before, also when `loss_fn` raises. Reads the loss on the host, once a step.

    Args:
        model: what is trained.
        optimizer: its optimizer; every parameter group gets the same learning rate.
        loss_fn: called as loss_fn(model, batch), returns a tensor with one entry.
        batches: gone through again and again if shorter than `num_iters`; at least one.
        start_lr: > 0.
        end_lr: > start_lr.
        num_iters: steps, >= 2.
        beta: smoothing, in [0, 1), see `smoothed`.
        divergence: stop when the smoothed loss is larger than this times its minimum, or not finite; > 1.

    Returns:
        A `RangeTest`; the loss at index i was computed before the step with learning rate i.

    Raises:
        TypeError: `batches` is not iterable; `loss_fn` returns something else.
        ValueError: a setting out of range; no batch.

    Source: Smith, "Cyclical Learning Rates for Training Neural Networks", arXiv:1506.01186, section 3.3.
    """
    where = "lr_range_test"
    require_optimizer(where, optimizer)
    require_count(where, "num_iters", num_iters, least=2)
    require(0 < start_lr < end_lr, where, "start_lr", "> 0 and below end_lr", start_lr)
    require(0 <= beta < 1, where, "beta", "in [0, 1)", beta)
    require(divergence > 1, where, "divergence", "> 1", divergence)
    lrs: list[float] = []
    losses: list[float] = []
    require_type(isinstance(batches, Iterable), where, "batches", "an iterable of batches", batches)
    with Restored(model, optimizer):
        source = iter(batches)
        for t in range(num_iters):
            batch = next(source, END)
            if batch is END:
                source = iter(batches)
                batch = next(source, END)
                require(batch is not END, where, "batches", "at least one batch, iterable repeatedly", "none")
            lrs.append(range_test_lr(t, start_lr, end_lr, num_iters))
            for group in optimizer.param_groups:
                write_lr(group, lrs[-1])
            optimizer.zero_grad()
            loss = loss_fn(model, batch)
            scalar = isinstance(loss, Tensor) and loss.numel() == 1
            require_type(scalar, where, "loss_fn", "a function that returns a scalar tensor", shown(loss))
            losses.append(float(loss.detach()))
            seen = smoothed(losses, beta)
            if not math.isfinite(losses[-1]) or seen[-1] > divergence * min(seen):
                break
            loss.backward()  # type: ignore[no-untyped-call, unused-ignore]
            optimizer.step()
    usable = sum(math.isfinite(s) for s in seen)
    return RangeTest(lrs, losses, seen, steepest_lr(lrs[:usable], seen[:usable]) if usable else None)


END = object()


class Restored:
    """Context manager: on leaving, model, optimizer and random state are as they were on entering."""

    def __init__(self, model: nn.Module, optimizer: Optimizer) -> None:
        self.model, self.optimizer = model, optimizer

    def __enter__(self) -> "Restored":
        tensors = [*self.model.parameters(), *self.model.buffers()]
        tensors += [p for group in self.optimizer.param_groups for p in group["params"]]
        self.tensors = [(tensor, tensor.detach().clone()) for tensor in tensors]
        self.grads = [(t, None if t.grad is None else t.grad.clone()) for t in tensors if t.requires_grad]
        self.modes = [(module, module.training) for module in self.model.modules()]
        self.state = copy.deepcopy(self.optimizer.state_dict())
        self.rng = torch.random.get_rng_state()
        self.cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
        return self

    def __exit__(self, *exception: object) -> None:
        with torch.no_grad():
            for tensor, saved in self.tensors:
                tensor.copy_(saved)
        for tensor, grad in self.grads:
            tensor.grad = grad
        for module, training in self.modes:
            module.training = training
        self.optimizer.load_state_dict(self.state)
        torch.random.set_rng_state(self.rng)
        if self.cuda:
            torch.cuda.set_rng_state_all(self.cuda)
