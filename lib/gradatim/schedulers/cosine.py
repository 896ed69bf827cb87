"""Cosine schedules: annealing, and annealing with warm restarts (SGDR)."""

import math

from torch import Tensor
from torch.optim import Optimizer

from .._check import checked, require
from .base import (
    LR,
    AbsoluteSchedule,
    Schedule,
    copied,
    require_count,
    require_step,
    warn_unless_within_step,
    write_lr,
)


@checked
def cosine_annealing_lr(t: float, base_lr: LR, T_max: int, eta_min: float = 0.0) -> LR:
    """Half a cosine wave from `base_lr` down to `eta_min`.

        lr(t) = eta_min + (base_lr - eta_min) * (1 + cos(pi t / T_max)) / 2

    Args:
        t: step, counted from 0; `eta_min` is reached at t = T_max, one step after the last of T_max steps.
            Beyond T_max the wave rises again, with period 2 T_max, as torch's does.
        base_lr: learning rate at t = 0, a number or a tensor of shape ().
        T_max: length of the decay in steps, >= 1.
        eta_min: lowest value.

    Returns:
        The learning rate of step t, of base_lr's type.

    Raises:
        ValueError: t < 0; `T_max` is no integer >= 1.

    Source: Loshchilov and Hutter, "SGDR", arXiv:1608.03983, eq. 5, without the restarts.

    >>> [round(cosine_annealing_lr(t, 1.0, T_max=4, eta_min=0.5), 6) for t in (0, 2, 4)]
    [1.0, 0.75, 0.5]
    """
    require_count("cosine_annealing_lr", "T_max", T_max, least=1)
    require_step("cosine_annealing_lr", t)
    return eta_min + (base_lr - eta_min) * ((1 + math.cos(math.pi * t / T_max)) / 2)


@checked
def restart_position(t: float, T_0: int, T_mult: int = 1) -> tuple[float, int]:
    """Where in its cycle step t lies.

    Cycle i has length T_i = T_0 * T_mult**i.

    Args:
        t: step or epoch, counted from 0; fractions allowed.
        T_0: length of the first cycle, >= 1.
        T_mult: each cycle is this many times the one before, >= 1.

    Returns:
        (T_cur, T_i): steps since the last warm restart, and the length of the present cycle.

    Raises:
        ValueError: t < 0; `T_0` or `T_mult` is no integer >= 1.

    >>> [restart_position(t, T_0=2, T_mult=3) for t in (0, 1, 2, 7, 8)]   # cycles of 2, then 6, then 18 steps
    [(0, 2), (1, 2), (0, 6), (5, 6), (0, 18)]
    """
    require_step("restart_position", t)
    require_count("restart_position", "T_0", T_0, least=1)
    require_count("restart_position", "T_mult", T_mult, least=1)
    if T_mult == 1:
        return t % T_0, T_0
    T_cur, T_i = t, T_0
    while T_cur >= T_i:  # logarithmic in t, and exact where a logarithm would be rounded
        T_cur, T_i = T_cur - T_i, T_i * T_mult
    return T_cur, T_i


@checked
def cosine_warm_restarts_lr(t: float, base_lr: LR, T_0: int, T_mult: int = 1, eta_min: float = 0.0) -> LR:
    """Cosine annealing that starts again from `base_lr` at the end of each cycle.

        lr(t) = eta_min + (base_lr - eta_min) * (1 + cos(pi T_cur / T_i)) / 2        T_cur, T_i: see `restart_position`

    Args:
        t: step or epoch, counted from 0; fractions allowed.
        base_lr: highest value of each cycle, a number or a tensor of shape ().
        T_0: length of the first cycle, >= 1.
        T_mult: each cycle is this many times the one before, >= 1.
        eta_min: lowest value of each cycle.

    Returns:
        The learning rate at t, of base_lr's type.

    Raises:
        ValueError: t < 0; `T_0` or `T_mult` is no integer >= 1.

    Source: Loshchilov and Hutter, "SGDR", arXiv:1608.03983, eq. 5.

    >>> [round(cosine_warm_restarts_lr(t, 1.0, T_0=2), 6) for t in range(5)]
    [1.0, 0.5, 1.0, 0.5, 1.0]
    """
    require_step("cosine_warm_restarts_lr", t)
    T_cur, T_i = restart_position(t, T_0, T_mult)
    return cosine_annealing_lr(T_cur, base_lr, T_i, eta_min)


class CosineAnnealingLR(Schedule):
    """`cosine_annealing_lr` for an optimizer. Same numbers as torch's CosineAnnealingLR.

    torch multiplies by the ratio of two nearly zero numbers close to the end of a long schedule; here the
    closed form is written unless something else also changes the learning rate.

    Args:
        optimizer: any; its groups' learning rates are the schedule's base.
        T_max: length of the decay in steps, >= 1.
        eta_min: lowest value, >= 0.
        last_epoch: the last step that was made, -1 to begin; see `Schedule`.

    Raises:
        ValueError: a setting out of range.
    """

    @checked
    def __init__(self, optimizer: Optimizer, T_max: int, eta_min: float = 0.0, last_epoch: int = -1) -> None:
        require_count("CosineAnnealingLR", "T_max", T_max, least=1)
        require(eta_min >= 0, "CosineAnnealingLR", "eta_min", ">= 0", eta_min)
        self.T_max, self.eta_min = T_max, eta_min
        super().__init__(optimizer, last_epoch)

    @property
    def floor(self) -> float:
        """`eta_min`: a change made by others scales the distance to it, as in torch's recursion."""
        return self.eta_min

    def lr_at(self, t: int, base_lr: LR) -> LR:
        """See `cosine_annealing_lr`."""
        return cosine_annealing_lr(t, base_lr, self.T_max, self.eta_min)


class CosineAnnealingWarmRestarts(AbsoluteSchedule):
    """`cosine_warm_restarts_lr` for an optimizer. Same numbers as torch's class, except that torch computes
    the cycle of a given epoch from a logarithm, which rounding can put into the cycle before.

    Args:
        optimizer: any; its groups' learning rates are the schedule's base.
        T_0: length of the first cycle, >= 1.
        T_mult: each cycle is this many times the one before, >= 1.
        eta_min: lowest value of each cycle, >= 0.
        last_epoch: the last step that was made, -1 to begin; see `Schedule`.

    Raises:
        ValueError: a setting out of range.
    """

    @checked
    def __init__(
        self, optimizer: Optimizer, T_0: int, T_mult: int = 1, eta_min: float = 0.0, last_epoch: int = -1
    ) -> None:
        require_count("CosineAnnealingWarmRestarts", "T_0", T_0, least=1)
        require_count("CosineAnnealingWarmRestarts", "T_mult", T_mult, least=1)
        require(eta_min >= 0, "CosineAnnealingWarmRestarts", "eta_min", ">= 0", eta_min)
        self.T_0, self.T_mult, self.eta_min = T_0, T_mult, eta_min
        self.T_cur: float = last_epoch
        self.T_i = T_0
        super().__init__(optimizer, last_epoch)

    def lr_at(self, t: float, base_lr: LR) -> LR:
        """See `cosine_warm_restarts_lr`."""
        return cosine_warm_restarts_lr(t, base_lr, self.T_0, self.T_mult, self.eta_min)

    def get_lr(self) -> list[float | Tensor]:
        """The learning rates at `T_cur` steps of the present cycle; to read them, use `get_last_lr()`."""
        warn_unless_within_step(self)
        return [cosine_annealing_lr(self.T_cur, base_lr, self.T_i, self.eta_min) for base_lr in self.base_lrs]

    def _get_closed_form_lr(self) -> list[float | Tensor]:
        self.T_cur, self.T_i = restart_position(self.last_epoch, self.T_0, self.T_mult)
        return [self.lr_at(self.last_epoch, base_lr) for base_lr in self.base_lrs]

    @checked
    def step(self, epoch: float | None = None) -> None:
        """Go to the next step, or to `epoch`, which may be a fraction: `step(epoch + i / batches)`.

        Raises: ValueError if `epoch` is negative.
        """
        if epoch is None:
            epoch = self.last_epoch + 1 if self.last_epoch >= 0 else 0
        require(epoch >= 0, "CosineAnnealingWarmRestarts.step", "epoch", ">= 0", epoch)
        self.T_cur, self.T_i = restart_position(epoch, self.T_0, self.T_mult)
        self.last_epoch = math.floor(epoch)
        for group, base_lr in zip(self.optimizer.param_groups, self.base_lrs, strict=True):
            write_lr(group, cosine_annealing_lr(self.T_cur, base_lr, self.T_i, self.eta_min))
        self._last_lr = [copied(group["lr"]) for group in self.optimizer.param_groups]
