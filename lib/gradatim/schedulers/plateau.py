"""Reduce the learning rate when a metric stops improving: the only schedule here that looks at the training."""

import math
from typing import Any, Literal, NamedTuple, SupportsFloat

from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from .._check import checked, require, shown
from .base import copied, require_count, require_optimizer, write_lr
from .cycles import per_group


class PlateauState(NamedTuple):
    """What `plateau_update` remembers.

    Args:
        best: the best metric so far.
        num_bad_epochs: observations since then.
        cooldown_counter: observations left during which bad ones do not count.
    """

    best: float
    num_bad_epochs: int = 0
    cooldown_counter: int = 0


def is_better(metric: float, best: float, mode: str, threshold: float, threshold_mode: str) -> bool:
    """Is `metric` better than `best` by more than the threshold? NaN never is.

    >>> is_better(0.95, 1.0, "min", threshold=0.1, threshold_mode="rel")   # 0.95 is not below 1 * (1 - 0.1)
    False
    """
    if threshold_mode == "rel":
        bound = best * (1 - threshold) if mode == "min" else best * (1 + threshold)
    else:
        bound = best - threshold if mode == "min" else best + threshold
    return metric < bound if mode == "min" else metric > bound


@checked
def plateau_update(
    state: PlateauState,
    metric: float,
    *,
    mode: Literal["min", "max"] = "min",
    patience: int = 10,
    threshold: float = 1e-4,
    threshold_mode: Literal["rel", "abs"] = "rel",
    cooldown: int = 0,
) -> tuple[PlateauState, bool]:
    """One observation of the metric.

        better         best <- metric, bad <- 0
        not better     bad <- bad + 1
        in cool-down   cooldown_counter <- cooldown_counter - 1, bad <- 0
        bad > patience reduce; cooldown_counter <- cooldown, bad <- 0

    With patience 0 the first observation that is not better reduces. Start with best = inf ("min") or -inf.

    Args:
        state: what the observation before returned.
        metric: the observed number; nan is never better.
        mode: "min" for a loss, "max" for an accuracy.
        patience: observations without improvement that are let pass.
        threshold: how much better counts.
        threshold_mode: "rel", by this fraction of the best, or "abs", by this much.
        cooldown: observations after a reduction during which bad ones do not count.

    Returns:
        (the new state, whether to reduce the learning rate now).

    Raises:
        ValueError: another word for `mode` or `threshold_mode`.

    >>> state, cuts = PlateauState(math.inf), []
    >>> for metric in (3.0, 2.0, 2.0, 2.0, 2.0):          # patience 1: the second bad one in a row reduces
    ...     state, cut = plateau_update(state, metric, patience=1)
    ...     cuts.append(cut)
    >>> cuts
    [False, False, False, True, False]
    """
    where = "plateau_update"
    require(mode in ("min", "max"), where, "mode", "'min' or 'max'", mode)
    require(threshold_mode in ("rel", "abs"), where, "threshold_mode", "'rel' or 'abs'", threshold_mode)
    best, bad, cooling = state
    if is_better(metric, best, mode, threshold, threshold_mode):
        best, bad = metric, 0
    else:
        bad += 1
    if cooling > 0:
        cooling, bad = cooling - 1, 0
    reduce = bad > patience
    if reduce:
        cooling, bad = cooldown, 0
    return PlateauState(best, bad, cooling), reduce


class ReduceLROnPlateau(LRScheduler):
    """`plateau_update` for an optimizer: lr <- max(lr * factor, min_lr). Same numbers and state as torch's.

    `step(metric)` reads the metric on the host: with a GPU tensor it waits for the device, once an epoch.

    Args:
        optimizer: any.
        mode: "min" for a loss, "max" for an accuracy.
        factor: in [0, 1).
        patience: number of observations without improvement that are let pass, >= 0.
        threshold: how much better counts, >= 0.
        threshold_mode: "rel", by this fraction of the best, or "abs", by this much.
        cooldown: observations after a reduction during which bad ones do not count, >= 0.
        min_lr: lower bound; one number, or one per group.
        eps: a smaller reduction than this is left out, >= 0.

    Raises:
        ValueError: a setting out of range; not one `min_lr` per group.
    """

    @checked
    def __init__(
        self,
        optimizer: Optimizer,
        mode: Literal["min", "max"] = "min",
        factor: float = 0.1,
        patience: int = 10,
        threshold: float = 1e-4,
        threshold_mode: Literal["rel", "abs"] = "rel",
        cooldown: int = 0,
        min_lr: list[float] | float = 0,
        eps: float = 1e-8,
    ) -> None:
        where = "ReduceLROnPlateau"
        require_optimizer(where, optimizer)
        require(mode in ("min", "max"), where, "mode", "'min' or 'max'", mode)
        require(threshold_mode in ("rel", "abs"), where, "threshold_mode", "'rel' or 'abs'", threshold_mode)
        require(0 <= factor < 1, where, "factor", "in [0, 1)", factor)
        require(threshold >= 0, where, "threshold", ">= 0", threshold)
        require(eps >= 0, where, "eps", ">= 0", eps)
        require_count(where, "patience", patience)
        require_count(where, "cooldown", cooldown)
        self.optimizer = optimizer
        self.mode, self.threshold, self.threshold_mode = mode, threshold, threshold_mode
        self.factor, self.patience, self.cooldown, self.eps = factor, patience, cooldown, eps
        self.default_min_lr = None if isinstance(min_lr, list | tuple) else min_lr
        self.min_lrs = per_group(where, "min_lr", optimizer, min_lr)
        self.last_epoch = 0
        self._last_lr: list[float | Tensor] = [copied(group["lr"]) for group in optimizer.param_groups]
        self.mode_worse = math.inf if mode == "min" else -math.inf
        self.best, self.num_bad_epochs, self.cooldown_counter = PlateauState(self.mode_worse)

    @property
    def in_cooldown(self) -> bool:
        """Whether bad observations are being ignored."""
        return self.cooldown_counter > 0

    def step(self, metrics: SupportsFloat, epoch: int | None = None) -> None:  # type: ignore[override]
        """Observe the metric; reduce the learning rate if it is time.

        Args:
            metrics: a number or a tensor with one entry, read on the host.
            epoch: its number; None: one more than before.

        Raises:
            TypeError: `metrics` is neither.
        """
        try:
            metric = float(metrics)
        except (TypeError, ValueError, RuntimeError) as reason:
            raise TypeError(
                f"ReduceLROnPlateau.step: metrics must be a number or a tensor with one element, got {shown(metrics)}"
            ) from reason
        self.last_epoch = self.last_epoch + 1 if epoch is None else epoch
        state, reduce = plateau_update(
            PlateauState(self.best, self.num_bad_epochs, self.cooldown_counter),
            metric,
            mode=self.mode,
            patience=self.patience,
            threshold=self.threshold,
            threshold_mode=self.threshold_mode,
            cooldown=self.cooldown,
        )
        self.best, self.num_bad_epochs, self.cooldown_counter = state
        if reduce:
            self._reduce_lr()
        self._last_lr = [copied(group["lr"]) for group in self.optimizer.param_groups]

    def _reduce_lr(self) -> None:
        groups = self.optimizer.param_groups
        if self.default_min_lr is not None:  # groups may have been added since the constructor
            self.min_lrs = [self.default_min_lr] * len(groups)
        rule = f"one per group, that is {len(groups)}"
        require(len(self.min_lrs) == len(groups), "ReduceLROnPlateau", "min_lr", rule, self.min_lrs)
        for group, min_lr in zip(groups, self.min_lrs, strict=True):
            old_lr = float(group["lr"])
            new_lr = max(old_lr * self.factor, min_lr)
            if old_lr - new_lr > self.eps:
                write_lr(group, new_lr)

    def get_lr(self) -> list[float | Tensor]:
        """The present learning rates: there is no next one before the next metric."""
        return [copied(group["lr"]) for group in self.optimizer.param_groups]

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load what `state_dict` returned, here or from torch's class."""
        self.__dict__.update(state_dict)
