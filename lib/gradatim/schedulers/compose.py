"""Schedules made from functions and from other schedules: lambda, multiplicative, chained, sequential."""

import math
from bisect import bisect_right
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from .._check import checked, require, require_type
from .base import (
    LR,
    AbsoluteSchedule,
    copied,
    counts_in,
    require_functions,
    require_optimizer,
    require_step,
    warn_unless_within_step,
    write_lr,
)
from .cycles import fn_state

Factor = Callable[[int], float]


@checked
def lambda_lr(t: int, base_lr: LR, lr_lambda: Factor) -> LR:
    """Any function of the step.

        lr(t) = base_lr * lr_lambda(t)

    Args:
        t: step, counted from 0.
        base_lr: a number or a tensor of shape ().
        lr_lambda: the factor of step t.

    Returns:
        The learning rate of step t, of base_lr's type.

    Raises:
        ValueError: t < 0.

    >>> [lambda_lr(t, 0.5, lambda t: 1 / (1 + t)) for t in (0, 1)]
    [0.5, 0.25]
    """
    require_step("lambda_lr", t)
    return base_lr * lr_lambda(t)


@checked
def multiplicative_lr(t: int, base_lr: LR, lr_lambda: Factor) -> LR:
    """A product of factors, one per step.

        lr(t) = base_lr * lr_lambda(1) * lr_lambda(2) * ... * lr_lambda(t)

    Args:
        t: step, counted from 0.
        base_lr: learning rate at t = 0, a number or a tensor of shape ().
        lr_lambda: the factor from step t - 1 to step t; called t times.

    Returns:
        The learning rate of step t, of base_lr's type.

    Raises:
        ValueError: t < 0.

    >>> [multiplicative_lr(t, 24.0, lambda t: 1 / t) for t in (0, 1, 2, 3)]   # 24 / t!
    [24.0, 24.0, 12.0, 4.0]
    """
    require_step("multiplicative_lr", t)
    return base_lr * math.prod(lr_lambda(i) for i in range(1, t + 1))


@checked
def chained_lr(t: int, base_lr: float, schedules: Sequence[Callable[[int, float], float]]) -> float:
    """Schedules applied together: their factors multiply.

        lr(t) = base_lr * (s_1(t, base_lr) / base_lr) * (s_2(t, base_lr) / base_lr) * ...

    Args:
        t: step, counted from 0.
        base_lr: > 0.
        schedules: at least one function (t, base_lr) -> lr.

    Returns:
        The learning rate of step t.

    Raises:
        TypeError: `schedules` is no sequence of functions.
        ValueError: t < 0; base_lr <= 0; no schedule.

    >>> half, linear = lambda t, lr: lr / 2, lambda t, lr: lr * (1 - t / 4)
    >>> [chained_lr(t, 8.0, [half, linear]) for t in (0, 1, 4)]
    [4.0, 3.0, 0.0]
    """
    require_step("chained_lr", t)
    require(base_lr > 0, "chained_lr", "base_lr", "> 0", base_lr)
    require_functions("chained_lr", "schedules", schedules)
    return base_lr * math.prod(schedule(t, base_lr) / base_lr for schedule in schedules)


@checked
def sequential_lr(
    t: int, base_lr: LR, schedules: Sequence[Callable[[int, LR], LR]], milestones: Sequence[int]
) -> LR:
    """One schedule after the other; each counts its steps from its own beginning.

        lr(t) = s_i(t - m_i, base_lr)   with m_i the last milestone <= t (m_0 = 0)

    Args:
        t: step, counted from 0.
        base_lr: handed to every schedule, a number or a tensor of shape ().
        schedules: at least one function (t, base_lr) -> lr.
        milestones: the steps at which the next one begins, increasing, one fewer than the schedules.

    Returns:
        The learning rate of step t, of base_lr's type.

    Raises:
        TypeError: `schedules` is no sequence of functions, or `milestones` none of steps.
        ValueError: t < 0; no schedule; another number of milestones, or not increasing ones.

    >>> warm_up, decay = lambda t, lr: lr * (t + 1) / 4, lambda t, lr: lr / 2**t
    >>> [sequential_lr(t, 1.0, [warm_up, decay], milestones=[3]) for t in range(6)]
    [0.25, 0.5, 0.75, 1.0, 0.5, 0.25]
    """
    require_step("sequential_lr", t)
    require_functions("sequential_lr", "schedules", schedules)
    require_phases("sequential_lr", schedules, milestones)
    i = bisect_right(milestones, t)
    return schedules[i](t - milestones[i - 1] if i > 0 else t, base_lr)


def require_phases(where: str, schedules: Sequence[Any], milestones: Sequence[int]) -> None:
    """Raise ValueError unless there is one milestone between each two schedules, in increasing order."""
    counts_in(where, "milestones", milestones)
    rule = f"one fewer than the {len(schedules)} schedules"
    require(len(milestones) == len(schedules) - 1, where, "milestones", rule, milestones)
    rising = all(a < b for a, b in pairwise(milestones))
    require(rising, where, "milestones", "increasing", milestones)


def one_lambda_per_group(where: str, optimizer: Optimizer, lr_lambda: Any) -> list[Factor]:
    """One callable for each parameter group: a list of that length, or one callable for all."""
    require_optimizer(where, optimizer)
    count = len(optimizer.param_groups)
    lambdas = list(lr_lambda) if isinstance(lr_lambda, list | tuple) else [lr_lambda] * count
    require(len(lambdas) == count, where, "lr_lambda", f"one function or {count}, one per group", lr_lambda)
    for fn in lambdas:
        require_type(callable(fn), where, "lr_lambda", "a function of the step", fn)
    return lambdas


class FunctionsInState(AbsoluteSchedule):
    """Saves `lr_lambdas` as torch does: the attributes of callable objects, nothing for plain functions."""

    lr_lambdas: list[Factor]

    def state_dict(self) -> dict[str, Any]:
        """Everything but the optimizer and the functions; of callable objects, their attributes."""
        state = super().state_dict()
        state["lr_lambdas"] = [fn_state(fn) for fn in self.lr_lambdas]
        return state

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load what `state_dict` returned; the functions are the ones given to the constructor."""
        saved = dict(state_dict)
        for fn, attributes in zip(self.lr_lambdas, saved.pop("lr_lambdas"), strict=True):
            if attributes is not None:
                fn.__dict__.update(attributes)
        super().load_state_dict(saved)


class LambdaLR(FunctionsInState):
    """`lambda_lr` for an optimizer. Same numbers and state as torch's LambdaLR.

    Args:
        optimizer: any; its groups' learning rates are the schedule's base.
        lr_lambda: the factor as a function of the step; one for all groups, or a list of one per group.
        last_epoch: the last step that was made, -1 to begin; see `Schedule`.

    Raises:
        TypeError: `lr_lambda` is no function.
        ValueError: not one function, nor one per group.
    """

    @checked
    def __init__(self, optimizer: Optimizer, lr_lambda: Factor | list[Factor], last_epoch: int = -1) -> None:
        self.lr_lambdas = one_lambda_per_group("LambdaLR", optimizer, lr_lambda)
        super().__init__(optimizer, last_epoch)

    def _get_closed_form_lr(self) -> list[float | Tensor]:
        pairs = zip(self.lr_lambdas, self.base_lrs, strict=True)
        return [lambda_lr(self.last_epoch, base_lr, fn) for fn, base_lr in pairs]


class MultiplicativeLR(FunctionsInState):
    """`multiplicative_lr` for an optimizer, one factor a step. Same numbers and state as torch's.

    Args:
        optimizer: any; its groups' learning rates are the schedule's base.
        lr_lambda: the factor of a step as a function of the step; one for all groups, or a list of one per group.
        last_epoch: the last step that was made, -1 to begin; see `Schedule`.

    Raises:
        TypeError: `lr_lambda` is no function.
        ValueError: not one function, nor one per group.
    """

    @checked
    def __init__(self, optimizer: Optimizer, lr_lambda: Factor | list[Factor], last_epoch: int = -1) -> None:
        self.lr_lambdas = one_lambda_per_group("MultiplicativeLR", optimizer, lr_lambda)
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float | Tensor]:
        """The present learning rates times the functions' values at `last_epoch`."""
        warn_unless_within_step(self)
        lrs = [copied(group["lr"]) for group in self.optimizer.param_groups]
        if self._step_count == 1:  # the constructor's step: no factor yet
            return lrs
        return [lr * fn(self.last_epoch) for lr, fn in zip(lrs, self.lr_lambdas, strict=True)]

    def _get_closed_form_lr(self) -> list[float | Tensor]:
        pairs = zip(self.lr_lambdas, self.base_lrs, strict=True)
        return [multiplicative_lr(self.last_epoch, base_lr, fn) for fn, base_lr in pairs]


def require_schedulers(where: str, schedulers: Sequence[Any], optimizer: Optimizer | None) -> Optimizer:
    """Raise unless all are schedulers of one optimizer that step without a metric; return the optimizer."""
    several = isinstance(schedulers, Sequence) and not isinstance(schedulers, str)
    require_type(several, where, "schedulers", "a sequence of schedulers", schedulers)
    require(len(schedulers) > 0, where, "schedulers", "at least one scheduler", schedulers)
    for i, scheduler in enumerate(schedulers):
        kind = type(scheduler).__name__
        require_type(isinstance(scheduler, LRScheduler), where, f"schedulers[{i}]", "a scheduler", kind)
        metric_free = not hasattr(scheduler, "num_bad_epochs")
        require(metric_free, where, f"schedulers[{i}]", "one that steps without a metric", kind)
        optimizer = optimizer or scheduler.optimizer
        one = scheduler.optimizer is optimizer
        require(one, where, f"schedulers[{i}]", "a scheduler of the same optimizer as the others", kind)
    assert optimizer is not None  # schedulers is not empty
    return optimizer


class Composed(LRScheduler):
    """Saves the states of its schedulers inside its own, as torch's compositions do."""

    _schedulers: Sequence[LRScheduler]

    def state_dict(self) -> dict[str, Any]:
        """The composition's own state, and under "_schedulers" that of each part."""
        state = {k: v for k, v in self.__dict__.items() if k not in ("optimizer", "_schedulers")}
        state["_schedulers"] = [scheduler.state_dict() for scheduler in self._schedulers]
        return state

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load what `state_dict` returned, here or from torch's class of the same name."""
        saved = dict(state_dict)
        for scheduler, state in zip(self._schedulers, saved.pop("_schedulers"), strict=True):
            scheduler.load_state_dict(state)
        self.__dict__.update(saved)


class ChainedScheduler(Composed):
    """Schedules that act together: `step()` steps each; their factors multiply, as in `chained_lr`. As torch's
    ChainedScheduler.

    Args:
        schedulers: at least one, all of one optimizer.
        optimizer: theirs; None takes it from the first.

    Raises:
        TypeError: a member is no scheduler.
        ValueError: none; schedulers of different optimizers; one that needs a metric.
    """

    @checked
    def __init__(self, schedulers: Sequence[LRScheduler], optimizer: Optimizer | None = None) -> None:
        self.optimizer = require_schedulers("ChainedScheduler", schedulers, optimizer)
        self._schedulers = schedulers
        self._last_lr = [copied(group["lr"]) for group in self.optimizer.param_groups]

    def step(self) -> None:  # type: ignore[override]
        """Step every schedule, in the order given."""
        for scheduler in self._schedulers:
            scheduler.step()
        self._last_lr = [copied(group["lr"]) for group in self.optimizer.param_groups]

    def _initial_step(self) -> None:
        for scheduler in self._schedulers:
            scheduler._initial_step()
        self._last_lr = [copied(group["lr"]) for group in self.optimizer.param_groups]

    def _update_lr(self, epoch: int | None = None) -> None:
        # A SequentialLR calls this, with 0, where this chain's turn comes: begin from the initial rate.
        reset(self)
        for group in self.optimizer.param_groups:
            write_lr(group, group["initial_lr"])
        self._initial_step()


class SequentialLR(Composed):
    """One schedule after another, changing at the milestones. Same numbers and state as torch's SequentialLR.

    A sequence inside a sequence counts from its own beginning; torch's is one step ahead there.

    Args:
        optimizer: the optimizer of all the schedules.
        schedulers: at least one; each begins from the optimizer's initial learning rate, at its own step 0.
        milestones: increasing step numbers, one fewer than the schedulers. See `sequential_lr`.
        last_epoch: -1; to resume, load a state_dict.

    Raises:
        TypeError: a member is no scheduler.
        ValueError: schedulers of another optimizer, or that need a metric; milestones that do not fit; a last_epoch
            other than -1.

    >>> import torch
    >>> optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    >>> from gradatim.schedulers import CosineAnnealingLR, LinearLR
    >>> warm_up = LinearLR(optimizer, start_factor=0.25, total_iters=3)
    >>> cosine = CosineAnnealingLR(optimizer, T_max=2)
    >>> schedule, seen = SequentialLR(optimizer, [warm_up, cosine], milestones=[3]), []
    >>> for _ in range(5):
    ...     optimizer.step()
    ...     seen.append(round(schedule.get_last_lr()[0], 6))
    ...     schedule.step()
    >>> seen
    [0.25, 0.5, 0.75, 1.0, 0.5]
    """

    @checked
    def __init__(
        self,
        optimizer: Optimizer,
        schedulers: Sequence[LRScheduler],
        milestones: Sequence[int],
        last_epoch: int = -1,
    ) -> None:
        require_optimizer("SequentialLR", optimizer)
        require_schedulers("SequentialLR", schedulers, optimizer)
        require_phases("SequentialLR", schedulers, milestones)
        require(
            last_epoch == -1, "SequentialLR", "last_epoch", "-1 (load a state_dict to resume)", last_epoch
        )
        self.optimizer, self._schedulers, self._milestones = optimizer, schedulers, milestones
        for group in optimizer.param_groups:
            write_lr(group, group["initial_lr"])
        reset(self)  # every schedule made its step 0 in its constructor; only the first may have
        self._initial_step()

    def _initial_step(self) -> None:
        self.last_epoch = 0
        first = self._schedulers[bisect_right(self._milestones, 0)]
        first._initial_step()
        self._last_lr = first.get_last_lr()

    def _update_lr(self, epoch: int | None = None) -> None:
        # The sequence around this one calls this, with 0, where this one's turn comes.
        self.last_epoch = 0
        first = self._schedulers[bisect_right(self._milestones, 0)]
        first._update_lr(0)
        self._last_lr = first.get_last_lr()

    def step(self) -> None:  # type: ignore[override]
        """Step the schedule whose turn it is."""
        self.last_epoch += 1
        i = bisect_right(self._milestones, self.last_epoch)
        scheduler = self._schedulers[i]
        if i > 0 and self._milestones[i - 1] == self.last_epoch:
            scheduler._update_lr(0)  # its step 0, from the initial learning rate
        else:
            scheduler.step()
        self._last_lr = scheduler.get_last_lr()


def reset(scheduler: Any) -> None:
    """Put the step count of a scheduler, or of all the parts of a composition, before step 0."""
    scheduler.last_epoch = -1
    for part in getattr(scheduler, "_schedulers", ()):
        reset(part)
