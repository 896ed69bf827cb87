"""What the schedule classes share: a pure function lr(t), and how it is applied to an optimizer.

A schedule is a pure function of the step t = 0, 1, 2, ... and of the learning rate the optimizer began with.
The classes here only count steps and write the function's value into `optimizer.param_groups`.

Two schedules may drive one optimizer, and a training loop may change the learning rate by hand. So a class
does not overwrite what others did: it multiplies the current value by lr(t) / lr(t-1). Where nobody interfered
that is lr(t), and then lr(t) is written as it is, without the rounding errors that a product of ratios collects.
"""

import math
import numbers
import warnings
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from .._check import checked, require, require_type

LR = TypeVar("LR", float, Tensor, float | Tensor)


def require_count(where: str, name: str, value: Any, *, least: int = 0) -> None:
    """Raise ValueError unless `value` is an integer number of steps, at least `least`."""
    whole = isinstance(value, numbers.Integral) and not isinstance(value, bool)
    ok = whole and int(value) >= least
    require(ok, where, name, f"an integer >= {least}", value)


def counts_in(where: str, name: str, values: Any) -> list[int]:
    """Step numbers as a list; TypeError for what is no sequence, ValueError for what is no step number."""
    several = isinstance(values, Iterable) and not isinstance(values, (str, Mapping))
    require_type(several, where, name, "a sequence of step numbers", values)
    listed = list(values)
    for value in listed:
        require_count(where, name, value)
    return listed


def require_functions(where: str, name: str, functions: Any) -> None:
    """Raise TypeError unless `functions` is a sequence of callables, ValueError where it is empty."""
    several = isinstance(functions, Sequence) and all(callable(fn) for fn in functions)
    require_type(several, where, name, "a sequence of functions", functions)
    require(len(functions) > 0, where, name, "at least one function", functions)


def require_step(where: str, t: float) -> None:
    """Raise ValueError unless t is a step, 0 or later."""
    require(0 <= t < math.inf, where, "t", ">= 0 (steps are counted from 0)", t)


def require_optimizer(where: str, optimizer: Any) -> None:
    """Raise TypeError unless `optimizer` is a torch.optim.Optimizer."""
    require_type(isinstance(optimizer, Optimizer), where, "optimizer", "a torch.optim.Optimizer", optimizer)


@checked
def follow(lr: Any, before: Any, after: Any, floor: float = 0.0) -> Any:
    """The next learning rate of a group whose schedule goes from `before` to `after`.

        after                                                 if lr = before   (nobody else changed it)
        lr                                                    if before = after
        floor + (lr - floor) * (after - floor)/(before - floor)   otherwise: the other change's factor stays
        lr + (after - before)                                 where that ratio is 0/0 or infinite

    Args:
        lr: the group's present value, a number or a tensor of shape (); tensors are never read on the host.
        before: what the schedule gave for the step before.
        after: what it gives for this step.
        floor: the schedule's lowest value, from which distances are measured.

    Returns:
        The group's next value.

    >>> follow(0.5, before=0.5, after=0.25)   # the schedule alone
    0.25
    >>> follow(5.0, before=0.5, after=0.25)   # somebody made it 10 times larger: it stays 10 times larger
    2.5
    """
    if not any(isinstance(x, Tensor) for x in (lr, before, after)):
        if lr == before or before == after:
            return after if lr == before else lr
        if before == floor:
            return lr + (after - before)
        return floor + (lr - floor) * ((after - floor) / (before - floor))
    like = next(x for x in (lr, before, after) if isinstance(x, Tensor))
    lr, before, after = (
        x if isinstance(x, Tensor) else torch.full_like(like, x) for x in (lr, before, after)
    )
    ratio = floor + (lr - floor) * ((after - floor) / (before - floor))
    chained = torch.where(before == floor, lr + (after - before), ratio)
    return torch.where(lr == before, after, torch.where(before == after, lr, chained))


class Schedule(LRScheduler):
    """A torch scheduler made from a pure function: subclasses define `lr_at(t, base_lr)`.

    Use as torch's: `optimizer.step()`, then `scheduler.step()`. `state_dict()` holds torch's names, so a
    checkpoint of the torch class of the same name loads here, and the other way round.

    To resume without a state_dict, load the optimizer's, then pass `last_epoch=e - 1`, where e was the saved
    scheduler's `last_epoch`: the groups' learning rates are then left as they were saved.

    Args:
        optimizer: any; its groups' learning rates are the schedule's base.
        last_epoch: the last step that was made, -1 to begin; later, the groups must hold "initial_lr".

    Raises:
        TypeError: `optimizer` is no torch.optim.Optimizer.
        ValueError: `last_epoch` is no integer >= -1.
    """

    @property
    def floor(self) -> float:
        """What the schedule decays towards; a change made by others scales the distance to it."""
        return 0.0

    @checked
    def __init__(self, optimizer: Optimizer, last_epoch: int = -1) -> None:
        require_optimizer(type(self).__name__, optimizer)
        require_count(type(self).__name__, "last_epoch", last_epoch, least=-1)
        super().__init__(optimizer, last_epoch)

    def lr_at(self, t: int, base_lr: LR) -> LR:
        """Learning rate at step t of a group that began with `base_lr`; no state is read or changed."""
        raise NotImplementedError

    def get_lr(self) -> list[float | Tensor]:
        """The learning rates for step `last_epoch`; called by `step()`. To read them, use `get_last_lr()`."""
        warn_unless_within_step(self)
        t, groups = self.last_epoch, self.optimizer.param_groups
        if self._step_count == 1 and t > 0:  # made with last_epoch >= 0: resuming
            return [copied(group["lr"]) for group in groups]
        return [
            follow(copied(group["lr"]), self._before(t, base_lr), self.lr_at(t, base_lr), self.floor)
            for group, base_lr in zip(groups, self.base_lrs, strict=True)
        ]

    def _before(self, t: int, base_lr: LR) -> LR:
        return self.lr_at(t - 1, base_lr) if t > 0 else base_lr

    def _get_closed_form_lr(self) -> list[float | Tensor]:
        # The name under which torch's SequentialLR looks for lr(t) when a new phase begins.
        return [self.lr_at(self.last_epoch, base_lr) for base_lr in self.base_lrs]


class AbsoluteSchedule(Schedule):
    """A schedule that sets the learning rate whatever it was before, as torch's Lambda, Cyclic and OneCycle do.

    Arguments and errors as `Schedule`.
    """

    def get_lr(self) -> list[float | Tensor]:
        """The learning rates for step `last_epoch`; called by `step()`. To read them, use `get_last_lr()`."""
        warn_unless_within_step(self)
        return self._get_closed_form_lr()


def copied(value: Any) -> Any:
    """A tensor's clone, or the number itself: `get_last_lr()` must not alias the optimizer's tensor."""
    return value.clone() if isinstance(value, Tensor) else value


def write_lr(group: dict[str, Any], lr: float | Tensor) -> None:
    """Set a group's learning rate, in place where the optimizer keeps it in a tensor."""
    if isinstance(group["lr"], Tensor):
        group["lr"].fill_(lr)
    else:
        group["lr"] = lr


def warn_unless_within_step(scheduler: LRScheduler) -> None:
    """Warn, as torch does, when `get_lr()` is called from outside: it answers for the next step."""
    if not scheduler._get_lr_called_within_step:
        warnings.warn(
            "To get the last learning rate computed by the scheduler, please use `get_last_lr()`.",
            UserWarning,
            stacklevel=3,
        )
