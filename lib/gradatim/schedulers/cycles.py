"""Schedules that go up and down: cyclic (triangular) and one-cycle, each with momentum cycled inversely."""

import math
import numbers
from collections.abc import Callable, Sequence
from typing import Any, Literal

from torch import Tensor
from torch.optim import Optimizer

from .._check import checked, require, require_type
from .base import AbsoluteSchedule, copied, require_count, require_optimizer, require_step, write_lr

MODES = ("triangular", "triangular2", "exp_range")


@checked
def triangular_wave(t: int, step_size_up: float, step_size_down: float | None = None) -> tuple[int, float]:
    """A wave that goes from 0 to 1 and back in straight lines.

    Args:
        t: step, counted from 0.
        step_size_up: steps from 0 to 1, > 0.
        step_size_down: steps from 1 to 0, > 0; None: as many as up.

    Returns:
        (cycle, height): the number of the cycle, from 1, and the height in [0, 1].

    Raises:
        ValueError: t < 0; a length <= 0.

    >>> [triangular_wave(t, step_size_up=2, step_size_down=1) for t in range(4)]
    [(1, 0.0), (1, 0.5), (1, 1.0), (2, 0.0)]
    """
    require_step("triangular_wave", t)
    require(step_size_up > 0, "triangular_wave", "step_size_up", "> 0", step_size_up)
    down = step_size_down is None or step_size_down > 0
    require(down, "triangular_wave", "step_size_down", "None or > 0", step_size_down)
    step_size_down = step_size_up if step_size_down is None else step_size_down
    cycle, position = divmod(t, step_size_up + step_size_down)
    if position <= step_size_up:
        return int(cycle) + 1, position / step_size_up
    return int(cycle) + 1, (step_size_up + step_size_down - position) / step_size_down


def cyclic_scale(t: int, cycle: int, mode: str, gamma: float = 1.0) -> float:
    """Amplitude of the cyclic schedule: 1, halved in each cycle, or gamma**t."""
    require(mode in MODES, "cyclic_lr", "mode", f"one of {MODES}", mode)
    return {"triangular": 1.0, "triangular2": 0.5 ** (cycle - 1), "exp_range": gamma**t}[mode]


@checked
def cyclic_lr(
    t: int,
    base_lr: float,
    max_lr: float,
    step_size_up: int = 2000,
    step_size_down: int | None = None,
    mode: Literal["triangular", "triangular2", "exp_range"] = "triangular",
    gamma: float = 1.0,
) -> float:
    """A triangular wave between `base_lr` and `max_lr`.

        lr(t) = base_lr + (max_lr - base_lr) * height(t) * scale(t)

        height(t): 0 to 1 in `step_size_up` steps, back to 0 in `step_size_down` steps, and again
        scale(t) = 1 ("triangular"),  1/2**(cycle - 1) ("triangular2"),  gamma**t ("exp_range")

    Args:
        t: step, counted from 0.
        base_lr: lowest value, at t = 0.
        max_lr: highest value of the first cycle.
        step_size_up: steps of the rising part, > 0.
        step_size_down: steps of the falling part, > 0; None: as many as up.
        mode: what becomes of the amplitude, see scale(t).
        gamma: for "exp_range".

    Returns:
        The learning rate of step t.

    Raises:
        ValueError: t < 0; a length <= 0; another word for `mode`.

    Source: Smith, "Cyclical Learning Rates for Training Neural Networks", arXiv:1506.01186, section 3.

    >>> [cyclic_lr(t, 1.0, 5.0, step_size_up=2, mode="triangular2") for t in range(7)]
    [1.0, 3.0, 5.0, 3.0, 1.0, 2.0, 3.0]
    """
    require_step("cyclic_lr", t)
    cycle, height = triangular_wave(t, step_size_up, step_size_down)
    return base_lr + (max_lr - base_lr) * height * cyclic_scale(t, cycle, mode, gamma)


@checked
def cyclic_momentum(
    t: int,
    base_momentum: float,
    max_momentum: float,
    step_size_up: int = 2000,
    step_size_down: int | None = None,
    mode: Literal["triangular", "triangular2", "exp_range"] = "triangular",
    gamma: float = 1.0,
) -> float:
    """The momentum that goes with `cyclic_lr`: low where the learning rate is high.

        m(t) = max_momentum - (max_momentum - base_momentum) * height(t) * scale(t)

    Args:
        t: step, counted from 0.
        base_momentum: lowest value, where the learning rate is highest.
        max_momentum: highest value, at t = 0.
        step_size_up: steps in which the momentum falls, > 0.
        step_size_down: steps in which it rises, > 0; None: as many.
        mode: see `cyclic_lr`.
        gamma: for "exp_range".

    Returns:
        The momentum of step t.

    Raises:
        ValueError: as `cyclic_lr`.

    >>> [cyclic_momentum(t, 0.5, 1.0, step_size_up=2) for t in range(4)]
    [1.0, 0.75, 0.5, 0.75]
    """
    return cyclic_lr(t, max_momentum, base_momentum, step_size_up, step_size_down, mode, gamma)


def anneal(start: float, end: float, p: float, strategy: str) -> float:
    """From `start` (p = 0) to `end` (p = 1), along half a cosine wave or a straight line."""
    if strategy == "cos":
        return end + (start - end) / 2 * (1 + math.cos(math.pi * p))
    return start + (end - start) * p


Phase = tuple[float, str, str, str, str]  # last step, lr at its start and end, momentum at its start and end


def require_cycle(where: str, total_steps: Any, pct_start: Any, anneal_strategy: Any) -> None:
    """Raise ValueError unless these describe a one-cycle schedule."""
    require_count(where, "total_steps", total_steps, least=1)
    require(0 <= pct_start <= 1, where, "pct_start", "in [0, 1]", pct_start)
    rule = "'cos' or 'linear'"
    require(anneal_strategy in ("cos", "linear"), where, "anneal_strategy", rule, anneal_strategy)


def one_cycle_phases(total_steps: int, pct_start: float = 0.3, three_phase: bool = False) -> list[Phase]:
    """The phases of the one-cycle schedule.

    Two phases: up for `pct_start` of the steps, then down to the minimum. Three: up, down again in as many
    steps, then from the initial rate to the minimum.
    """
    up = float(pct_start * total_steps) - 1
    rise: Phase = (up, "initial_lr", "max_lr", "max_momentum", "base_momentum")
    if not three_phase:
        return [rise, (total_steps - 1, "max_lr", "min_lr", "base_momentum", "max_momentum")]
    down = float(2 * pct_start * total_steps) - 2
    return [
        rise,
        (down, "max_lr", "initial_lr", "base_momentum", "max_momentum"),
        (total_steps - 1, "initial_lr", "min_lr", "max_momentum", "max_momentum"),
    ]


def one_cycle_position(t: int, phases: Sequence[Phase]) -> tuple[Phase, float]:
    """The phase that step t lies in, and the fraction p of it that has passed."""
    start = 0.0
    for phase in phases[:-1]:
        if t <= phase[0]:
            return phase, (t - start) / (phase[0] - start) if phase[0] > start else 1.0
        start = phase[0]
    last = phases[-1]
    return last, (t - start) / (last[0] - start) if last[0] > start else 1.0


@checked
def one_cycle_lr(
    t: int,
    max_lr: float,
    total_steps: int,
    pct_start: float = 0.3,
    anneal_strategy: Literal["cos", "linear"] = "cos",
    div_factor: float = 25.0,
    final_div_factor: float = 1e4,
    three_phase: bool = False,
) -> float:
    """Up from max_lr / div_factor to max_lr, then down to far below where it began.

        initial_lr = max_lr / div_factor
        min_lr     = initial_lr / final_div_factor
        lr(t)      = from initial_lr to max_lr   for 0 <= t <= pct_start * total_steps - 1
                     from max_lr to min_lr       until t = total_steps - 1
        from a to b, at the fraction p of a phase:  b + (a - b) (1 + cos(pi p)) / 2  or  a + (b - a) p

    Args:
        t: step in 0 .. total_steps. The last step of training has t = total_steps - 1; t = total_steps is
            what a scheduler computes after it, and is not used.
        max_lr: the peak.
        total_steps: length of training in steps, >= 1.
        pct_start: fraction of the steps spent going up, in [0, 1].
        anneal_strategy: "cos" or "linear".
        div_factor: max_lr / initial_lr, > 0.
        final_div_factor: initial_lr / min_lr, > 0.
        three_phase: up, down again in as many steps, then from initial_lr to min_lr in a phase of its own.

    Returns:
        The learning rate of step t.

    Raises:
        ValueError: t outside 0 .. total_steps; a setting out of range.

    Source: Smith and Topin, "Super-Convergence", arXiv:1708.07120. Differs from the paper: two phases unless
    `three_phase`, and a cosine unless `anneal_strategy="linear"`, as in torch.

    >>> [one_cycle_lr(t, 1.0, total_steps=8, pct_start=0.5, anneal_strategy="linear", div_factor=4.0,
    ...               final_div_factor=1.0) for t in (0, 1, 3, 5, 7)]   # 1/4 up to 1 at t = 3, back at t = 7
    [0.25, 0.5, 1.0, 0.625, 0.25]
    """
    require_cycle("one_cycle_lr", total_steps, pct_start, anneal_strategy)
    require(div_factor > 0, "one_cycle_lr", "div_factor", "> 0", div_factor)
    require(final_div_factor > 0, "one_cycle_lr", "final_div_factor", "> 0", final_div_factor)
    require(0 <= t <= total_steps, "one_cycle_lr", "t", f"in 0 .. total_steps = {total_steps}", t)
    initial_lr = max_lr / div_factor
    lr = {"initial_lr": initial_lr, "max_lr": max_lr, "min_lr": initial_lr / final_div_factor}
    (_, start, end, _, _), p = one_cycle_position(t, one_cycle_phases(total_steps, pct_start, three_phase))
    return anneal(lr[start], lr[end], p, anneal_strategy)


@checked
def one_cycle_momentum(
    t: int,
    base_momentum: float,
    max_momentum: float,
    total_steps: int,
    pct_start: float = 0.3,
    anneal_strategy: Literal["cos", "linear"] = "cos",
    three_phase: bool = False,
) -> float:
    """The momentum that goes with `one_cycle_lr`: `base_momentum` at the peak, `max_momentum` at both ends.

    Args:
        t: step in 0 .. total_steps.
        base_momentum: lowest value, at the peak of the learning rate.
        max_momentum: highest value, at both ends.
        total_steps: length of training in steps, >= 1.
        pct_start: fraction of the steps in which the momentum falls, in [0, 1].
        anneal_strategy: "cos" or "linear".
        three_phase: see `one_cycle_lr`.

    Returns:
        The momentum of step t.

    Raises:
        ValueError: t outside 0 .. total_steps; a setting out of range.

    >>> [one_cycle_momentum(t, 0.5, 1.0, 8, 0.5, "linear") for t in (0, 3, 5, 7)]
    [1.0, 0.5, 0.75, 1.0]
    """
    require_cycle("one_cycle_momentum", total_steps, pct_start, anneal_strategy)
    require(0 <= t <= total_steps, "one_cycle_momentum", "t", f"in 0 .. total_steps = {total_steps}", t)
    momentum = {"base_momentum": base_momentum, "max_momentum": max_momentum}
    (*_, start, end), p = one_cycle_position(t, one_cycle_phases(total_steps, pct_start, three_phase))
    return anneal(momentum[start], momentum[end], p, anneal_strategy)


def per_group(where: str, name: str, optimizer: Optimizer, value: Any) -> list[Any]:
    """One value for each parameter group: a list of that length, or one number for all."""
    count = len(optimizer.param_groups)
    values = value if isinstance(value, list | tuple) else [value]
    for entry in values:
        real = isinstance(entry, numbers.Real) or (isinstance(entry, Tensor) and entry.numel() == 1)
        require_type(
            real and not isinstance(entry, bool), where, name, "a number, or a list of numbers", value
        )
    if not isinstance(value, list | tuple):
        return [value] * count
    require(len(value) == count, where, name, f"one number or {count}, one per group", value)
    return list(value)


def uses_beta1(where: str, optimizer: Optimizer) -> bool:
    """True where the optimizer's momentum is called betas[0]; ValueError where it has none."""
    ok = "momentum" in optimizer.defaults or "betas" in optimizer.defaults
    rule = "one with momentum or betas when cycle_momentum is True"
    require(ok, where, "optimizer", rule, type(optimizer).__name__)
    return "betas" in optimizer.defaults


def write_momentum(group: dict[str, Any], momentum: float, use_beta1: bool) -> None:
    """Set a group's momentum, or the first of its betas."""
    if use_beta1:
        group["betas"] = (momentum, *group["betas"][1:])
    else:
        group["momentum"] = momentum


class CyclicLR(AbsoluteSchedule):
    """`cyclic_lr` and `cyclic_momentum` for an optimizer. Same numbers and state names as torch's CyclicLR.

    Args:
        optimizer: any; with momentum or betas if `cycle_momentum`.
        base_lr: lowest rate; one number, or one per group.
        max_lr: highest rate; one number, or one per group.
        step_size_up: steps of the rising part, >= 1.
        step_size_down: steps of the falling part, >= 1; None: as many as up.
        mode: see `cyclic_lr`.
        gamma: see `cyclic_lr`.
        scale_fn: takes the place of `mode`; called with the number of the cycle or with the step, see `scale_mode`.
        scale_mode: "cycle" or "iterations".
        cycle_momentum: write the momentum too.
        base_momentum: lowest momentum; one number, or one per group.
        max_momentum: highest momentum; one number, or one per group.
        last_epoch: the last step that was made, -1 to begin; see `Schedule`.

    Raises:
        ValueError: a setting out of range; not one number per group; an optimizer without momentum, unless
            cycle_momentum=False.
    """

    @checked
    def __init__(
        self,
        optimizer: Optimizer,
        base_lr: float | list[float],
        max_lr: float | list[float],
        step_size_up: int = 2000,
        step_size_down: int | None = None,
        mode: Literal["triangular", "triangular2", "exp_range"] = "triangular",
        gamma: float = 1.0,
        scale_fn: Callable[[float], float] | None = None,
        scale_mode: Literal["cycle", "iterations"] = "cycle",
        cycle_momentum: bool = True,
        base_momentum: float | list[float] = 0.8,
        max_momentum: float | list[float] = 0.9,
        last_epoch: int = -1,
    ) -> None:
        require_optimizer("CyclicLR", optimizer)
        require_count("CyclicLR", "step_size_up", step_size_up, least=1)
        if step_size_down is not None:
            require_count("CyclicLR", "step_size_down", step_size_down, least=1)
        require(mode in MODES or scale_fn is not None, "CyclicLR", "mode", f"one of {MODES}", mode)
        rule = "'cycle' or 'iterations'"
        require(scale_mode in ("cycle", "iterations"), "CyclicLR", "scale_mode", rule, scale_mode)
        base_lrs = per_group("CyclicLR", "base_lr", optimizer, base_lr)
        self.max_lrs = per_group("CyclicLR", "max_lr", optimizer, max_lr)
        self.total_size = float(step_size_up + (step_size_up if step_size_down is None else step_size_down))
        self.step_ratio = step_size_up / self.total_size
        self.mode, self.gamma, self.cycle_momentum = mode, gamma, cycle_momentum
        self._scale_fn_custom = scale_fn
        self.scale_mode = scale_mode
        if scale_fn is None:
            self.scale_mode = "iterations" if mode == "exp_range" else "cycle"
        if cycle_momentum:
            self.use_beta1 = uses_beta1("CyclicLR", optimizer)
            self.base_momentums = per_group("CyclicLR", "base_momentum", optimizer, base_momentum)
            self.max_momentums = per_group("CyclicLR", "max_momentum", optimizer, max_momentum)
        if last_epoch == -1:
            for group, low in zip(optimizer.param_groups, base_lrs, strict=True):
                write_lr(group, low)
        super().__init__(optimizer, last_epoch)
        self.base_lrs = base_lrs  # not the groups' initial_lr, which an earlier scheduler may have set
        for group, lr in zip(optimizer.param_groups, self._get_closed_form_lr(), strict=True):
            write_lr(group, lr)
        self._last_lr = [copied(group["lr"]) for group in optimizer.param_groups]

    def get_lr(self) -> list[float | Tensor]:
        """The learning rates for step `last_epoch`; also writes the momenta, as torch's does."""
        if self.cycle_momentum:
            momenta = zip(self.base_momentums, self.max_momentums, self.optimizer.param_groups, strict=True)
            for low, high, group in momenta:
                write_momentum(group, high - (high - low) * self._height(), self.use_beta1)
        return super().get_lr()

    def _get_closed_form_lr(self) -> list[float | Tensor]:
        height = self._height()
        return [low + (high - low) * height for low, high in zip(self.base_lrs, self.max_lrs, strict=True)]

    def _height(self) -> float:
        up = self.step_ratio * self.total_size
        cycle, height = triangular_wave(self.last_epoch, up, self.total_size - up)
        if self._scale_fn_custom is None:
            return height * cyclic_scale(self.last_epoch, cycle, self.mode, self.gamma)
        return height * self._scale_fn_custom(cycle if self.scale_mode == "cycle" else self.last_epoch)

    def state_dict(self) -> dict[str, Any]:
        """As torch's: a `scale_fn` that is an object is saved by its attributes, a plain function is not."""
        state = super().state_dict()
        fn = state["_scale_fn_custom"]
        state["_scale_fn_custom"] = fn_state(fn)
        return state

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load what `state_dict` returned; `scale_fn` itself is the one given to the constructor."""
        saved = dict(state_dict)
        attributes = saved.pop("_scale_fn_custom")
        if attributes is not None and self._scale_fn_custom is not None:
            self._scale_fn_custom.__dict__.update(attributes)
        super().load_state_dict(saved)


def fn_state(fn: Any) -> dict[str, Any] | None:
    """The attributes of a callable object, or None for a plain function, which cannot be saved as data."""
    attributes = getattr(fn, "__dict__", None)
    return dict(attributes) if attributes else None


class OneCycleLR(AbsoluteSchedule):
    """`one_cycle_lr` and `one_cycle_momentum` for an optimizer. Same numbers, group keys and state as torch's.

    Args:
        optimizer: any; with momentum or betas if `cycle_momentum`.
        max_lr: peak rate; one number, or one per group.
        total_steps: length of training in steps, or both `epochs` and `steps_per_epoch`.
        epochs: >= 1, where `total_steps` is None.
        steps_per_epoch: >= 1, where `total_steps` is None.
        pct_start: see `one_cycle_lr`.
        anneal_strategy: see `one_cycle_lr`.
        cycle_momentum: write the momentum too.
        base_momentum: lowest momentum; one number, or one per group.
        max_momentum: highest momentum; one number, or one per group.
        div_factor: see `one_cycle_lr`.
        final_div_factor: see `one_cycle_lr`.
        three_phase: see `one_cycle_lr`.
        last_epoch: the last step that was made, -1 to begin; see `Schedule`.

    Raises:
        ValueError: a setting out of range; not one number per group; an optimizer without momentum, unless
            cycle_momentum=False; more than `total_steps` steps.
    """

    @checked
    def __init__(
        self,
        optimizer: Optimizer,
        max_lr: float | list[float],
        total_steps: int | None = None,
        epochs: int | None = None,
        steps_per_epoch: int | None = None,
        pct_start: float = 0.3,
        anneal_strategy: Literal["cos", "linear"] = "cos",
        cycle_momentum: bool = True,
        base_momentum: float | list[float] = 0.85,
        max_momentum: float | list[float] = 0.95,
        div_factor: float = 25.0,
        final_div_factor: float = 1e4,
        three_phase: bool = False,
        last_epoch: int = -1,
    ) -> None:
        where = "OneCycleLR"
        require_optimizer(where, optimizer)
        if total_steps is None:
            rule = "given, or both epochs and steps_per_epoch"
            require(epochs is not None and steps_per_epoch is not None, where, "total_steps", rule, None)
            require_count(where, "epochs", epochs, least=1)
            require_count(where, "steps_per_epoch", steps_per_epoch, least=1)
            total_steps = (epochs or 0) * (steps_per_epoch or 0)
        require_count(where, "total_steps", total_steps, least=1)
        require(0 <= pct_start <= 1, where, "pct_start", "in [0, 1]", pct_start)
        known = ("cos", "linear")
        require(anneal_strategy in known, where, "anneal_strategy", f"one of {known}", anneal_strategy)
        self.total_steps, self.cycle_momentum = total_steps, cycle_momentum
        keys = ("end_step", "start_lr", "end_lr", "start_momentum", "end_momentum")
        phases = one_cycle_phases(total_steps, pct_start, three_phase)
        self._schedule_phases = [dict(zip(keys, phase, strict=True)) for phase in phases]
        self._anneal_func_type: str = anneal_strategy
        if cycle_momentum:
            self.use_beta1 = uses_beta1(where, optimizer)
        require(div_factor > 0, where, "div_factor", "> 0", div_factor)
        require(final_div_factor > 0, where, "final_div_factor", "> 0", final_div_factor)
        max_lrs = per_group(where, "max_lr", optimizer, max_lr)
        lows = per_group(where, "base_momentum", optimizer, base_momentum)
        highs = per_group(where, "max_momentum", optimizer, max_momentum)
        if last_epoch == -1:
            for group, peak, low, high in zip(optimizer.param_groups, max_lrs, lows, highs, strict=True):
                initial_lr = peak / div_factor
                group.update(initial_lr=initial_lr, max_lr=peak, min_lr=initial_lr / final_div_factor)
                if cycle_momentum:
                    group.update(base_momentum=low, max_momentum=high)
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float | Tensor]:
        """The learning rates for step `last_epoch`; also writes the momenta, as torch's does."""
        if self.cycle_momentum:
            start, end, p = self._position("momentum")
            for group in self.optimizer.param_groups:
                momentum = anneal(group[start], group[end], p, self._anneal_func_type)
                write_momentum(group, momentum, self.use_beta1)
        return super().get_lr()

    def _get_closed_form_lr(self) -> list[float | Tensor]:
        start, end, p = self._position("lr")
        return [anneal(g[start], g[end], p, self._anneal_func_type) for g in self.optimizer.param_groups]

    def _position(self, what: str) -> tuple[str, str, float]:
        t, last = self.last_epoch, self.total_steps
        require(t <= last, "OneCycleLR", "the number of steps", f"<= total_steps = {last}", t)
        phases: list[Any] = [tuple(phase.values()) for phase in self._schedule_phases]
        (_, lr0, lr1, m0, m1), p = one_cycle_position(t, phases)
        return (lr0, lr1, p) if what == "lr" else (m0, m1, p)
