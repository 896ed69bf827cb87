"""What happens around the steps: progress, early stopping, logs, averages. The loop itself knows none of it."""

import math
import sys
import time
from typing import IO, TYPE_CHECKING, Any

from torch import Tensor

from .. import regularization
from .._check import checked, require
from . import parallel

if TYPE_CHECKING:
    from .trainer import Trainer


class Callback:
    """Does nothing at every event; a callback overrides the events it needs.

    Callbacks are called by ascending `order`, equal ones as they were given. What a callback must find again
    after a resume it gives in `state_dict`, as tensors and plain values.
    """

    order = 0

    def on_start(self, trainer: "Trainer") -> None:
        """Before the first step, and after a resume."""

    def on_step_start(self, trainer: "Trainer") -> None:
        """Before a step."""

    def on_step(self, trainer: "Trainer") -> None:
        """After a step; `trainer.step` counts it already."""

    def on_validation_start(self, trainer: "Trainer") -> None:
        """Before the validation set is evaluated."""

    def on_validation_end(self, trainer: "Trainer") -> None:
        """After it; `trainer.results` has the values. Called in the opposite order: who was first in is last out."""

    def on_epoch(self, trainer: "Trainer") -> None:
        """After an epoch and its validation; `trainer.epoch` counts it already."""

    def on_end(self, trainer: "Trainer") -> None:
        """After the last step."""

    def state_dict(self) -> dict[str, Any]:
        """What a resume needs."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """The inverse of `state_dict`."""


class Progress(Callback):
    """Print one line an epoch: epoch, last loss, validation results, seconds.

    Args:
        stream: where to; None is standard output.
    """

    def __init__(self, stream: IO[str] | None = None) -> None:
        self.stream = stream
        self._since = 0.0

    def on_start(self, trainer: "Trainer") -> None:
        """Start the clock."""
        self._since = time.perf_counter()

    def on_epoch(self, trainer: "Trainer") -> None:
        """Print the line, in process 0 only."""
        if parallel.place()[0] == 0:
            now = time.perf_counter()
            results = "".join(f"  validation {name} {value:.4g}" for name, value in trainer.results.items())
            line = f"epoch {trainer.epoch}/{trainer.epochs}  loss {float(trainer.loss):.4g}{results}"
            print(f"{line}  {now - self._since:.1f} s", file=self.stream or sys.stdout, flush=True)
            self._since = now


class EarlyStopping(Callback):
    """Stop when a validation result has not improved for `patience` epochs, and go back to the best weights.

    A value is an improvement if it beats the best by more than `min_delta`. NaN never is. The rule is
    `gradatim.regularization.EarlyStopping`'s.

    Args:
        metric: a name of `trainer.results`.
        patience: epochs without improvement that are still allowed, >= 0.
        min_delta: >= 0, in the metric's unit.
        maximize: True where larger is better.
        restore: load the best weights at the end.

    Raises:
        ValueError: a setting out of range; in training, a metric that the results do not have.

    Source: Prechelt, "Early Stopping - But When?" (1998), doi:10.1007/3-540-49430-8_3, criterion UP.
    """

    _SEEN = ("best", "best_epoch", "epoch", "bad", "best_weights")

    order = 10  # after everything that changes the results

    @checked
    def __init__(
        self,
        metric: str = "loss",
        *,
        patience: int = 5,
        min_delta: float = 0.0,
        maximize: bool = False,
        restore: bool = True,
    ) -> None:
        self.metric, self.restore = metric, restore
        self.rule = regularization.EarlyStopping(patience, min_delta, "max" if maximize else "min")

    @property
    def best(self) -> float:
        """The best value so far; infinite before the first."""
        return self.rule.best

    @property
    def best_epoch(self) -> int:
        """Its epoch, counted from 1; 0 if there is none."""
        return self.rule.best_epoch + 1

    def on_validation_end(self, trainer: "Trainer") -> None:
        """Compare with the best so far. (Here an averaging callback still has its weights in the model.)"""
        known = self.metric in trainer.results
        require(known, "EarlyStopping", "metric", f"one of {list(trainer.results)}", self.metric)
        self.rule.epoch = (
            trainer.epoch - 1
        )  # `step` counts one further: epochs without a validation count too
        model = trainer.model if self.restore else None
        trainer.stop = self.rule.step(trainer.results[self.metric], model) or trainer.stop

    def on_end(self, trainer: "Trainer") -> None:
        """Load the best weights."""
        if self.restore and self.rule.best_weights is not None:
            self.rule.restore(trainer.model)

    def state_dict(self) -> dict[str, Any]:
        """What was seen so far; the settings are the new callback's own."""
        return {name: value for name, value in self.rule.state_dict().items() if name in self._SEEN}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """The inverse of `state_dict`."""
        self.rule.load_state_dict(state)


class EMA(Callback):
    """Keep an exponential moving average of the weights, and validate with it.

        average = d_t * average + (1 - d_t) * theta,     d_t = min(decay, (1 + t) / (10 + t)),  t = 1, 2, ... steps

    It begins with the initial weights. The growing d_t forgets them, where a constant one would remember them for
    1 / (1 - decay) steps. Buffers (running statistics) are copied, integers too. The average is
    `gradatim.regularization.EMA`'s, with its warm-up.

    Args:
        decay: in [0, 1).
        at_end: leave the average in the model when training ends.

    Raises:
        ValueError: decay outside [0, 1).

    Source: Polyak and Juditsky (1992), doi:10.1137/0330046, for averaging; the ramp of d_t is the usual one
    since TensorFlow's ExponentialMovingAverage (its `num_updates`).
    """

    order = -10  # its weights must be in the model before others look at the validation

    @checked
    def __init__(self, decay: float = 0.999, *, at_end: bool = True) -> None:
        require(0 <= decay < 1, "EMA", "decay", "in [0, 1)", decay)
        self.decay, self.at_end = decay, at_end
        self._averaged: regularization.EMA | None = None
        self._resumed: dict[str, Tensor] = {}
        self._own: dict[str, Tensor] = {}

    @property
    def average(self) -> dict[str, Tensor]:
        """The averaged weights and the copied buffers, under the model's names; empty before training."""
        return self._averaged.module.state_dict() if self._averaged else {}

    def on_start(self, trainer: "Trainer") -> None:
        """Begin with the initial weights, unless resumed."""
        if self._averaged is None:
            self._averaged = regularization.EMA(trainer.model, self.decay, warmup=True)
            self._averaged.update_parameters(trainer.model)
        if self._resumed:
            self._averaged.load_state_dict(self._resumed)
            self._resumed = {}

    def on_step(self, trainer: "Trainer") -> None:
        """Move the average."""
        if self._averaged:
            self._averaged.update_parameters(trainer.model)

    def on_validation_start(self, trainer: "Trainer") -> None:
        """Put the average in."""
        self._own = {k: v.detach().clone() for k, v in trainer.model.state_dict().items()}
        trainer.model.load_state_dict(self.average)

    def on_validation_end(self, trainer: "Trainer") -> None:
        """Take it out again."""
        trainer.model.load_state_dict(self._own)
        self._own = {}

    def on_end(self, trainer: "Trainer") -> None:
        """Leave the average in the model, if asked to."""
        if self.at_end and self._averaged:
            trainer.model.load_state_dict(self.average)

    def state_dict(self) -> dict[str, Any]:
        """The average and the number of its updates."""
        return self._resumed or (dict(self._averaged.state_dict()) if self._averaged else {})

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """The inverse of `state_dict`; takes effect when training starts."""
        self._resumed = {k: v.clone() for k, v in state.items()}


class StopOnNaN(Callback):
    """Raise as soon as the loss is not finite: what comes after is lost time.

    Args:
        every: steps from one look to the next, >= 1; each look waits for the device.

    Raises:
        ValueError: every < 1; in training, a loss that is not finite.
    """

    @checked
    def __init__(self, *, every: int = 1) -> None:
        require(every >= 1, "StopOnNaN", "every", ">= 1", every)
        self.every = every

    def on_step(self, trainer: "Trainer") -> None:
        """Look at the loss."""
        if trainer.step % self.every == 0:
            where = f"the loss of step {trainer.step} (epoch {trainer.epoch}, batch {trainer.batch})"
            require(math.isfinite(float(trainer.loss)), "StopOnNaN", where, "finite", float(trainer.loss))
