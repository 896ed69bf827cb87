"""Checks to run before a long training, and what to look at while it runs."""

import copy
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from .._check import checked, require
from .callbacks import Callback
from .randomness import rng_state, set_rng_state

if TYPE_CHECKING:
    from .trainer import Trainer

Loss = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Check:
    """A finding that is true or false, for `assert check, check.text`.

    Args:
        ok: the finding.
        text: one sentence.
        value: the number that was judged.
    """

    ok: bool
    text: str
    value: float

    def __bool__(self) -> bool:
        return self.ok

    def __str__(self) -> str:
        return self.text


@checked
def initial_loss(
    model: nn.Module, loss: Loss, x: Tensor, y: Tensor, *, num_classes: int, tolerance: float = 0.2
) -> Check:
    """Is the loss before training that of a network that knows nothing, log K for K balanced classes?

    More than that: the last layer starts too large, or the loss is not what you think (a sum, probabilities
    for logits). Less: the answer leaks into the input.

    Args:
        model: as in training; its mode, buffers and the random state are restored.
        loss: as in training; a mean over rows, in nats.
        x: inputs, N >= 1.
        y: targets.
        num_classes: K >= 2.
        tolerance: how far from log K is still well, relative to log K.

    Returns:
        A `Check`; its value is the loss.

    Raises:
        ValueError: num_classes < 2; an empty batch.

    >>> model = nn.Linear(3, 10)
    >>> for p in model.parameters():
    ...     _ = nn.init.zeros_(p)
    >>> check = initial_loss(model, nn.functional.cross_entropy, torch.ones(4, 3), torch.arange(4), num_classes=10)
    >>> bool(check), round(check.value, 4)
    (True, 2.3026)
    """
    require(num_classes >= 2, "initial_loss", "num_classes", ">= 2", num_classes)
    require(x.ndim > 0 and len(x) > 0, "initial_loss", "x", "not empty", tuple(x.shape))
    expected = math.log(num_classes)
    with _undisturbed(model), torch.no_grad():
        model.eval()
        value = float(loss(model(x), y))
    ok = abs(value - expected) <= tolerance * expected
    verdict = "as it should be" if ok else "the last layer or the loss is not what it should be"
    return Check(
        ok, f"loss at initialization {value:.4f}, log({num_classes}) = {expected:.4f}: {verdict}", value
    )


@checked
def overfit_one_batch(
    model: nn.Module,
    loss: Loss,
    x: Tensor,
    y: Tensor,
    *,
    steps: int = 200,
    target: float = 0.01,
    optimizer: Callable[[Iterable[Tensor]], torch.optim.Optimizer] | None = None,
) -> Check:
    """Can the network learn one batch by heart? If it cannot, something in it does not learn at all.

    The model itself is left as it was: a copy is trained, in training mode with dropout switched off.

    Args:
        model: as in training.
        loss: as in training.
        x: inputs.
        y: targets.
        steps: at most, >= 1.
        target: the loss that counts as learnt by heart, in the loss's unit.
        optimizer: makes one from parameters; None means Adam with learning rate 1e-2.

    Returns:
        A `Check`; its value is the last loss.

    Raises:
        ValueError: steps < 1.
    """
    require(steps >= 1, "overfit_one_batch", "steps", ">= 1", steps)
    with _undisturbed(model):
        pupil = copy.deepcopy(model).train()
        for module in pupil.modules():
            if isinstance(module, nn.modules.dropout._DropoutNd):
                module.p = 0.0
        opt = optimizer(pupil.parameters()) if optimizer else torch.optim.Adam(pupil.parameters(), lr=1e-2)
        value = math.inf
        for step in range(steps + 1):
            opt.zero_grad()
            found = loss(pupil(x), y)
            value, taken = float(found.detach()), step
            if value <= target or not math.isfinite(value):
                break
            found.backward()
            opt.step()
    ok = value <= target
    verdict = "learnt by heart" if ok else f"not below {target}: look for a gradient that does not arrive"
    return Check(ok, f"loss of one batch after {taken} steps {value:.4g}, {verdict}", value)


class _undisturbed:
    """Inside: anything may happen to mode, buffers, gradients and random numbers. Afterwards: as if nothing had."""

    def __init__(self, model: nn.Module) -> None:
        self.model = model

    def __enter__(self) -> None:
        self.random = rng_state()
        self.modes = {name: module.training for name, module in self.model.named_modules()}
        self.buffers = {name: b.clone() for name, b in self.model.named_buffers()}

    def __exit__(self, *exc: object) -> None:
        set_rng_state(self.random)
        for name, module in self.model.named_modules():
            module.training = self.modes[name]
        for name, buffer in self.model.named_buffers():
            buffer.copy_(self.buffers[name])


@checked
def update_ratio(before: Mapping[str, Tensor], model: nn.Module) -> dict[str, float]:
    """How large a step was beside the weights: |after - before| / |before|, for each parameter, in 2-norms.

    About 1e-3 is usual; 1e-1 rewrites the weights, 1e-6 leaves them where they are.

    Args:
        before: name -> a copy from before the step.
        model: after it.

    Returns:
        Name -> ratio, for the names of `before`; NaN or infinite where a parameter was 0. Waits for the device.
    """
    after = {name: p.detach() for name, p in model.named_parameters()}
    return {name: float((after[name] - w).norm() / w.norm()) for name, w in before.items()}


class UpdateRatio(Callback):
    """Record `update_ratio` every so many steps: `.steps` and `.ratios` (name -> one number for each recorded step).

    Args:
        every: steps between two records, >= 1; a recorded step copies the weights once.

    Raises:
        ValueError: every < 1.
    """

    @checked
    def __init__(self, *, every: int = 50) -> None:
        require(every >= 1, "UpdateRatio", "every", ">= 1", every)
        self.every = every
        self.steps: list[int] = []
        self.ratios: dict[str, list[float]] = {}
        self._before: Mapping[str, Tensor] = {}

    def on_step_start(self, trainer: "Trainer") -> None:
        """Copy the weights, if this step is recorded."""
        if (trainer.step + 1) % self.every == 0:
            self._before = {name: p.detach().clone() for name, p in trainer.model.named_parameters()}

    def on_step(self, trainer: "Trainer") -> None:
        """Compare."""
        if self._before:
            self.steps.append(trainer.step)
            for name, ratio in update_ratio(self._before, trainer.model).items():
                self.ratios.setdefault(name, []).append(ratio)
            self._before = {}

    def state_dict(self) -> dict[str, Any]:
        """The record."""
        return {"steps": list(self.steps), "ratios": {k: list(v) for k, v in self.ratios.items()}}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """The inverse of `state_dict`."""
        self.steps, self.ratios = list(state["steps"]), {k: list(v) for k, v in state["ratios"].items()}


@torch.no_grad()
@checked
def dead_units(model: nn.Module, x: Tensor) -> dict[str, float]:
    """The share of units of every ReLU that are 0 for all rows of x: they give no gradient, and none reaches what lies
    before.

    Args:
        model: its nn.ReLU modules are looked at; its mode, buffers and the random state are restored.
        x: a batch of inputs, as many rows as may be (a unit that is 0 for 10 rows need not be dead).

    Returns:
        Name of each nn.ReLU module -> share in [0, 1]. A unit is a feature, or a channel of an image.
    """
    shares: dict[str, float] = {}

    def look(name: str) -> Callable[[nn.Module, Any, Tensor], None]:
        def hook(module: nn.Module, inputs: Any, output: Tensor) -> None:
            units = output.transpose(0, 1).flatten(1) if output.ndim > 1 else output[None]
            shares[name] = float((units == 0).all(dim=1).float().mean())

        return hook

    relus = [(name, module) for name, module in model.named_modules() if isinstance(module, nn.ReLU)]
    handles = [module.register_forward_hook(look(name)) for name, module in relus]
    try:
        with _undisturbed(model):
            model.eval()
            model(x)
    finally:
        for handle in handles:
            handle.remove()
    return shares
