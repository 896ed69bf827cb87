"""Schedules that go one way: constant, linear warm-up, step, multi-step, exponential, polynomial,
inverse square root and warm-up-stable-decay. Each is a pure function of the step t, then a thin class."""

import math
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable
from typing import Literal

from torch.optim import Optimizer

from .._check import checked, require
from .base import LR, Schedule, counts_in, require_count, require_step


@checked
def constant_lr(t: int, base_lr: LR, factor: float = 1.0 / 3, total_iters: int = 5) -> LR:
    """Hold the learning rate at `factor` of its value for the first `total_iters` steps.

        lr(t) = base_lr * factor   if t < total_iters
        lr(t) = base_lr            otherwise

    Args:
        t: step, counted from 0.
        base_lr: learning rate after the hold, a number or a tensor of shape ().
        factor: in [0, 1].
        total_iters: number of reduced steps, >= 0; 0 gives a constant schedule.

    Returns:
        The learning rate of step t, of base_lr's type.

    Raises:
        ValueError: t < 0; `total_iters` is no integer >= 0.

    >>> [constant_lr(t, 0.8, factor=0.5, total_iters=2) for t in range(4)]
    [0.4, 0.4, 0.8, 0.8]
    """
    require_count("constant_lr", "total_iters", total_iters, least=0)
    require_step("constant_lr", t)
    return base_lr * factor if t < total_iters else base_lr


@checked
def linear_lr(
    t: int, base_lr: LR, start_factor: float = 1.0 / 3, end_factor: float = 1.0, total_iters: int = 5
) -> LR:
    """Linear warm-up (or decay): the factor goes from `start_factor` to `end_factor` in a straight line.

        lr(t) = base_lr * (start_factor + (end_factor - start_factor) * min(t, total_iters) / total_iters)

    Args:
        t: step, counted from 0.
        base_lr: learning rate that the factors multiply, a number or a tensor of shape ().
        start_factor: at t = 0.
        end_factor: from t = total_iters on.
        total_iters: length of the line in steps, >= 1.

    Returns:
        The learning rate of step t, of base_lr's type.

    Raises:
        ValueError: t < 0; `total_iters` is no integer >= 1.

    >>> [linear_lr(t, 1.0, start_factor=0.25, total_iters=3) for t in range(5)]
    [0.25, 0.5, 0.75, 1.0, 1.0]
    """
    require_count("linear_lr", "total_iters", total_iters, least=1)
    require_step("linear_lr", t)
    progress = min(t, total_iters) / total_iters
    return base_lr * (start_factor + (end_factor - start_factor) * progress)


@checked
def step_lr(t: int, base_lr: LR, step_size: int, gamma: float = 0.1) -> LR:
    """Multiply the learning rate by `gamma` every `step_size` steps.

        lr(t) = base_lr * gamma**floor(t / step_size)

    Args:
        t: step, counted from 0.
        base_lr: learning rate at t = 0, a number or a tensor of shape ().
        step_size: steps between two cuts, >= 1.
        gamma: factor of a cut.

    Returns:
        The learning rate of step t, of base_lr's type.

    Raises:
        ValueError: t < 0; `step_size` is no integer >= 1.

    >>> [step_lr(t, 8.0, step_size=2, gamma=0.5) for t in range(6)]
    [8.0, 8.0, 4.0, 4.0, 2.0, 2.0]
    """
    require_count("step_lr", "step_size", step_size, least=1)
    require_step("step_lr", t)
    return base_lr * gamma ** (t // step_size)


@checked
def multistep_lr(t: int, base_lr: LR, milestones: Iterable[int], gamma: float = 0.1) -> LR:
    """Multiply the learning rate by `gamma` at each milestone.

        lr(t) = base_lr * gamma**(number of milestones <= t)      a milestone named twice counts twice

    Args:
        t: step, counted from 0.
        base_lr: learning rate before the first milestone, a number or a tensor of shape ().
        milestones: steps >= 0, in any order.
        gamma: factor of a cut.

    Returns:
        The learning rate of step t, of base_lr's type.

    Raises:
        TypeError: `milestones` is no sequence.
        ValueError: t < 0; a milestone that is no step.

    >>> [multistep_lr(t, 8.0, milestones=[1, 3], gamma=0.5) for t in range(5)]
    [8.0, 4.0, 4.0, 2.0, 2.0]
    """
    require_step("multistep_lr", t)
    return base_lr * gamma ** bisect_right(sorted(counts_in("multistep_lr", "milestones", milestones)), t)


@checked
def exponential_lr(t: int, base_lr: LR, gamma: float) -> LR:
    """Multiply the learning rate by `gamma` at every step.

        lr(t) = base_lr * gamma**t

    Args:
        t: step, counted from 0.
        base_lr: learning rate at t = 0, a number or a tensor of shape ().
        gamma: factor of a step.

    Returns:
        The learning rate of step t, of base_lr's type.

    Raises:
        ValueError: t < 0.

    >>> [exponential_lr(t, 8.0, gamma=0.5) for t in range(4)]
    [8.0, 4.0, 2.0, 1.0]
    """
    require_step("exponential_lr", t)
    return base_lr * gamma**t


@checked
def polynomial_lr(t: int, base_lr: LR, total_iters: int = 5, power: float = 1.0) -> LR:
    """Decay to 0 along a polynomial; power 1 is a straight line.

        lr(t) = base_lr * (1 - min(t, total_iters) / total_iters)**power

    Args:
        t: step, counted from 0.
        base_lr: learning rate at t = 0, a number or a tensor of shape ().
        total_iters: steps until 0 is reached, >= 1.
        power: degree of the polynomial, >= 0.

    Returns:
        The learning rate of step t, of base_lr's type.

    Raises:
        ValueError: t < 0; power < 0; `total_iters` is no integer >= 1.

    >>> [polynomial_lr(t, 1.0, total_iters=4, power=2.0) for t in range(6)]
    [1.0, 0.5625, 0.25, 0.0625, 0.0, 0.0]
    """
    require_count("polynomial_lr", "total_iters", total_iters, least=1)
    require(power >= 0, "polynomial_lr", "power", ">= 0", power)
    require_step("polynomial_lr", t)
    return base_lr * (1 - min(t, total_iters) / total_iters) ** power


@checked
def inverse_sqrt_lr(t: int, base_lr: LR, warmup_iters: int = 1) -> LR:
    """Linear warm-up to `base_lr`, then decay with the inverse square root of the step.

        s     = t + 1
        lr(t) = base_lr * min(s / warmup_iters, sqrt(warmup_iters / s))        equal, and 1, at s = warmup_iters

    Args:
        t: step, counted from 0, so that no step is spent at learning rate 0.
        base_lr: peak learning rate, reached at t = warmup_iters - 1; a number or a tensor of shape ().
        warmup_iters: >= 1; 1 means no warm-up, lr = base_lr / sqrt(t + 1).

    Returns:
        The learning rate of step t, of base_lr's type.

    Raises:
        ValueError: t < 0; `warmup_iters` is no integer >= 1.

    Source: Vaswani et al., "Attention Is All You Need", arXiv:1706.03762, eq. 3.
    Differs from the paper: the peak is `base_lr`; the paper's is 1 / sqrt(d_model * warmup_steps).

    >>> [inverse_sqrt_lr(t, 1.0, warmup_iters=4) for t in (0, 1, 3, 15)]   # 1/4, 2/4, 1, sqrt(4/16)
    [0.25, 0.5, 1.0, 0.5]
    """
    require_count("inverse_sqrt_lr", "warmup_iters", warmup_iters, least=1)
    require_step("inverse_sqrt_lr", t)
    s = t + 1
    return base_lr * min(s / warmup_iters, math.sqrt(warmup_iters / s))


DECAYS = ("linear", "cosine", "sqrt")


@checked
def warmup_stable_decay_lr(
    t: int,
    base_lr: LR,
    warmup_iters: int,
    stable_iters: int,
    decay_iters: int,
    final_factor: float = 0.0,
    decay: Literal["linear", "cosine", "sqrt"] = "linear",
) -> LR:
    """Warm up, hold, then cool down at the end. The hold may be prolonged without planning it beforehand.

        warm-up   lr(t) = base_lr * (t + 1) / warmup_iters                       t < warmup_iters
        stable    lr(t) = base_lr                                                 for stable_iters steps
        decay     lr(t) = base_lr * (final_factor + (1 - final_factor) * g(p))    for decay_iters steps
        after     lr(t) = base_lr * final_factor

        p = (t - warmup_iters - stable_iters) / decay_iters      0 at the first step of the decay
        g(p) = 1 - p (linear),  (1 + cos(pi p)) / 2 (cosine),  1 - sqrt(p) (sqrt)

    Args:
        t: step, counted from 0.
        base_lr: learning rate of the hold, a number or a tensor of shape ().
        warmup_iters: length of the warm-up in steps, >= 0.
        stable_iters: length of the hold in steps, >= 0.
        decay_iters: length of the decay in steps, >= 0.
        final_factor: fraction of `base_lr` that is left at the end, in [0, 1].
        decay: the shape g, "linear", "cosine" or "sqrt".

    Returns:
        The learning rate of step t, of base_lr's type.

    Raises:
        ValueError: t < 0; a length that is no integer >= 0; another word for `decay`.

    Sources: Hu et al., "MiniCPM", arXiv:2404.06395 (the schedule); Hägele et al., "Scaling Laws and
    Compute-Optimal Training Beyond Fixed Training Durations", arXiv:2405.18392 (the 1 - sqrt cooldown).

    >>> [warmup_stable_decay_lr(t, 1.0, warmup_iters=2, stable_iters=2, decay_iters=4) for t in range(9)]
    [0.5, 1.0, 1.0, 1.0, 1.0, 0.75, 0.5, 0.25, 0.0]
    """
    require_count("warmup_stable_decay_lr", "warmup_iters", warmup_iters, least=0)
    require_count("warmup_stable_decay_lr", "stable_iters", stable_iters, least=0)
    require_count("warmup_stable_decay_lr", "decay_iters", decay_iters, least=0)
    require_step("warmup_stable_decay_lr", t)
    require(decay in DECAYS, "warmup_stable_decay_lr", "decay", f"one of {DECAYS}", decay)
    if t < warmup_iters:
        return base_lr * ((t + 1) / warmup_iters)
    into_decay = t - warmup_iters - stable_iters
    if into_decay < 0:
        return base_lr
    p = min(into_decay / decay_iters, 1.0) if decay_iters > 0 else 1.0
    g = {"linear": 1 - p, "cosine": (1 + math.cos(math.pi * p)) / 2, "sqrt": 1 - math.sqrt(p)}[decay]
    return base_lr * (final_factor + (1 - final_factor) * g)


class ConstantLR(Schedule):
    """`constant_lr` for an optimizer. Same numbers as torch's ConstantLR; factor 0 works too.

    Args:
        optimizer: any; its groups' learning rates are the schedule's base.
        factor: in [0, 1].
        total_iters: number of reduced steps, >= 0.
        last_epoch: the last step that was made, -1 to begin; see `Schedule`.

    Raises:
        ValueError: a setting out of range.
    """

    @checked
    def __init__(
        self, optimizer: Optimizer, factor: float = 1.0 / 3, total_iters: int = 5, last_epoch: int = -1
    ) -> None:
        require(0 <= factor <= 1, "ConstantLR", "factor", "in [0, 1]", factor)
        require_count("ConstantLR", "total_iters", total_iters)
        self.factor, self.total_iters = factor, total_iters
        super().__init__(optimizer, last_epoch)

    def lr_at(self, t: int, base_lr: LR) -> LR:
        """See `constant_lr`."""
        return constant_lr(t, base_lr, self.factor, self.total_iters)


class LinearLR(Schedule):
    """`linear_lr` for an optimizer: linear warm-up. Same numbers as torch's LinearLR.

    Args:
        optimizer: any; its groups' learning rates are the schedule's base.
        start_factor: at the first step, in (0, 1].
        end_factor: at the end, in [0, 1].
        total_iters: length of the line in steps, >= 1.
        last_epoch: the last step that was made, -1 to begin; see `Schedule`.

    Raises:
        ValueError: a setting out of range.
    """

    @checked
    def __init__(
        self,
        optimizer: Optimizer,
        start_factor: float = 1.0 / 3,
        end_factor: float = 1.0,
        total_iters: int = 5,
        last_epoch: int = -1,
    ) -> None:
        require(0 < start_factor <= 1, "LinearLR", "start_factor", "in (0, 1]", start_factor)
        require(0 <= end_factor <= 1, "LinearLR", "end_factor", "in [0, 1]", end_factor)
        require_count("LinearLR", "total_iters", total_iters, least=1)
        self.start_factor, self.end_factor, self.total_iters = start_factor, end_factor, total_iters
        super().__init__(optimizer, last_epoch)

    def lr_at(self, t: int, base_lr: LR) -> LR:
        """See `linear_lr`."""
        return linear_lr(t, base_lr, self.start_factor, self.end_factor, self.total_iters)


class StepLR(Schedule):
    """`step_lr` for an optimizer. Same numbers as torch's StepLR.

    Args:
        optimizer: any; its groups' learning rates are the schedule's base.
        step_size: steps between two cuts, >= 1.
        gamma: factor of a cut, >= 0.
        last_epoch: the last step that was made, -1 to begin; see `Schedule`.

    Raises:
        ValueError: a setting out of range.
    """

    @checked
    def __init__(
        self, optimizer: Optimizer, step_size: int, gamma: float = 0.1, last_epoch: int = -1
    ) -> None:
        require_count("StepLR", "step_size", step_size, least=1)
        require(gamma >= 0, "StepLR", "gamma", ">= 0", gamma)
        self.step_size, self.gamma = step_size, gamma
        super().__init__(optimizer, last_epoch)

    def lr_at(self, t: int, base_lr: LR) -> LR:
        """See `step_lr`."""
        return step_lr(t, base_lr, self.step_size, self.gamma)


class MultiStepLR(Schedule):
    """`multistep_lr` for an optimizer. Same numbers as torch's MultiStepLR.

    Args:
        optimizer: any; its groups' learning rates are the schedule's base.
        milestones: steps >= 0, in any order.
        gamma: factor of a cut, >= 0.
        last_epoch: the last step that was made, -1 to begin; see `Schedule`.

    Raises:
        ValueError: a setting out of range.
    """

    @checked
    def __init__(
        self, optimizer: Optimizer, milestones: Iterable[int], gamma: float = 0.1, last_epoch: int = -1
    ) -> None:
        self.milestones = Counter(counts_in("MultiStepLR", "milestones", milestones))
        require(gamma >= 0, "MultiStepLR", "gamma", ">= 0", gamma)
        self.gamma = gamma
        super().__init__(optimizer, last_epoch)

    def lr_at(self, t: int, base_lr: LR) -> LR:
        """See `multistep_lr`."""
        return multistep_lr(t, base_lr, self.milestones.elements(), self.gamma)


class ExponentialLR(Schedule):
    """`exponential_lr` for an optimizer. Same numbers as torch's ExponentialLR.

    Args:
        optimizer: any; its groups' learning rates are the schedule's base.
        gamma: factor of a step, >= 0.
        last_epoch: the last step that was made, -1 to begin; see `Schedule`.

    Raises:
        ValueError: a setting out of range.
    """

    @checked
    def __init__(self, optimizer: Optimizer, gamma: float, last_epoch: int = -1) -> None:
        require(gamma >= 0, "ExponentialLR", "gamma", ">= 0", gamma)
        self.gamma = gamma
        super().__init__(optimizer, last_epoch)

    def lr_at(self, t: int, base_lr: LR) -> LR:
        """See `exponential_lr`."""
        return exponential_lr(t, base_lr, self.gamma)


class PolynomialLR(Schedule):
    """`polynomial_lr` for an optimizer. Same numbers as torch's PolynomialLR.

    Args:
        optimizer: any; its groups' learning rates are the schedule's base.
        total_iters: steps until 0 is reached, >= 1.
        power: degree of the polynomial, >= 0.
        last_epoch: the last step that was made, -1 to begin; see `Schedule`.

    Raises:
        ValueError: a setting out of range.
    """

    @checked
    def __init__(
        self, optimizer: Optimizer, total_iters: int = 5, power: float = 1.0, last_epoch: int = -1
    ) -> None:
        require_count("PolynomialLR", "total_iters", total_iters, least=1)
        require(power >= 0, "PolynomialLR", "power", ">= 0", power)
        self.total_iters, self.power = total_iters, power
        super().__init__(optimizer, last_epoch)

    def lr_at(self, t: int, base_lr: LR) -> LR:
        """See `polynomial_lr`."""
        return polynomial_lr(t, base_lr, self.total_iters, self.power)


class InverseSqrtLR(Schedule):
    """`inverse_sqrt_lr` for an optimizer; torch has no such class.

    Args:
        optimizer: any; its groups' learning rates are the schedule's base.
        warmup_iters: steps up to the peak, >= 1.
        last_epoch: the last step that was made, -1 to begin; see `Schedule`.

    Raises:
        ValueError: a setting out of range.
    """

    @checked
    def __init__(self, optimizer: Optimizer, warmup_iters: int = 1, last_epoch: int = -1) -> None:
        require_count("InverseSqrtLR", "warmup_iters", warmup_iters, least=1)
        self.warmup_iters = warmup_iters
        super().__init__(optimizer, last_epoch)

    def lr_at(self, t: int, base_lr: LR) -> LR:
        """See `inverse_sqrt_lr`."""
        return inverse_sqrt_lr(t, base_lr, self.warmup_iters)


class WarmupStableDecayLR(Schedule):
    """`warmup_stable_decay_lr` for an optimizer; torch has no such class.

    Args:
        optimizer: any; its groups' learning rates are the schedule's base.
        warmup_iters: length of the warm-up in steps, >= 0.
        stable_iters: length of the hold in steps, >= 0.
        decay_iters: length of the decay in steps, >= 0.
        final_factor: fraction of the learning rate that is left at the end, in [0, 1].
        decay: "linear", "cosine" or "sqrt".
        last_epoch: the last step that was made, -1 to begin; see `Schedule`.

    Raises:
        ValueError: a setting out of range.
    """

    @checked
    def __init__(
        self,
        optimizer: Optimizer,
        warmup_iters: int,
        stable_iters: int,
        decay_iters: int,
        final_factor: float = 0.0,
        decay: Literal["linear", "cosine", "sqrt"] = "linear",
        last_epoch: int = -1,
    ) -> None:
        where = "WarmupStableDecayLR"
        require_count(where, "warmup_iters", warmup_iters)
        require_count(where, "stable_iters", stable_iters)
        require_count(where, "decay_iters", decay_iters)
        require(0 <= final_factor <= 1, where, "final_factor", "in [0, 1]", final_factor)
        require(decay in DECAYS, where, "decay", f"one of {DECAYS}", decay)
        self.warmup_iters, self.stable_iters, self.decay_iters = warmup_iters, stable_iters, decay_iters
        self.final_factor, self.decay = final_factor, decay
        super().__init__(optimizer, last_epoch)

    def lr_at(self, t: int, base_lr: LR) -> LR:
        """See `warmup_stable_decay_lr`."""
        phases = self.warmup_iters, self.stable_iters, self.decay_iters
        return warmup_stable_decay_lr(t, base_lr, *phases, self.final_factor, self.decay)
