"""Stopping when the validation metric no longer improves, and going back to the best weights."""

import copy
import math
from typing import Any, Literal, SupportsFloat

import torch
from torch import nn

from .._check import checked, require, require_floating


class EarlyStopping:
    """Watches one metric; `step` says when to stop.

        better       metric < best - min_delta  ("min"),   metric > best + min_delta  ("max");  nan never is
        better       best <- metric, its weights are copied, bad <- 0
        not better   bad <- bad + 1;  stop as soon as bad > patience

    With patience 0 the first epoch that is not better stops; an equal metric is not better.

    Args:
        patience: epochs without improvement that are let pass, >= 0.
        min_delta: smaller improvements do not count, >= 0.
        mode: "min" for a loss, "max" for an accuracy.

    Raises:
        ValueError: a setting out of range.

    On a quadratic bowl stopping early equals an L2 penalty: few steps, strong penalty. Choose the number of epochs on
    validation data, never on test data.

    >>> stopping = EarlyStopping(patience=1)
    >>> [stopping.step(loss) for loss in (3.0, 2.0, 2.5, 2.1)]
    [False, False, False, True]
    >>> stopping.best, stopping.best_epoch
    (2.0, 1)
    """

    @checked
    def __init__(
        self, patience: int = 10, min_delta: float = 0.0, mode: Literal["min", "max"] = "min"
    ) -> None:
        require(
            isinstance(patience, int) and patience >= 0,
            "EarlyStopping",
            "patience",
            "an integer >= 0",
            patience,
        )
        require(min_delta >= 0, "EarlyStopping", "min_delta", ">= 0", min_delta)
        require(mode in ("min", "max"), "EarlyStopping", "mode", "'min' or 'max'", mode)
        self.patience, self.min_delta, self.mode = patience, min_delta, mode
        self.best = math.inf if mode == "min" else -math.inf
        self.best_epoch, self.epoch, self.bad = -1, -1, 0
        self.best_weights: dict[str, Any] | None = None

    def step(self, metric: SupportsFloat, model: nn.Module | None = None) -> bool:
        """Observe an epoch's metric.

        Args:
            metric: a number or a tensor with one entry; read on the host.
            model: a copy of its weights is kept if the metric is the best so far.

        Returns:
            True: stop.
        """
        value = float(metric)
        self.epoch += 1
        gain = self.best - value if self.mode == "min" else value - self.best
        if gain > self.min_delta:
            self.best, self.best_epoch, self.bad = value, self.epoch, 0
            if model is not None:
                self.best_weights = copy.deepcopy(model.state_dict())
        else:
            self.bad += 1
        return self.bad > self.patience

    def restore(self, model: nn.Module) -> None:
        """Load the best weights into the model.

        Raises:
            ValueError: none are kept, as `step` was called without a model.
        """
        kept = self.best_weights is not None
        require(kept, "EarlyStopping.restore", "best_weights", "kept: call step(metric, model)", None)
        model.load_state_dict(copy.deepcopy(self.best_weights or {}))

    def state_dict(self) -> dict[str, Any]:
        """Everything needed to go on after an interruption, the best weights among it."""
        return copy.deepcopy(self.__dict__)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load what `state_dict` returned."""
        self.__dict__.update(copy.deepcopy(state_dict))


@checked
def early_stopping_as_l2(eigenvalues: torch.Tensor, lr: float, steps: int) -> torch.Tensor:
    """The L2 strength that shrinks each direction of a quadratic as much as stopping after `steps` does.

        after k steps from 0       w_i = w*_i (1 - (1 - lr h_i)**k)           h_i: curvature
        with strength alpha        w_i = w*_i h_i / (h_i + alpha)
        equal for                  alpha_i = h_i (1 - lr h_i)**k / (1 - (1 - lr h_i)**k)  ~  1 / (lr k)

    Args:
        eigenvalues: h, the curvatures, any shape, floating-point.
        lr: learning rate, finite and > 0.
        steps: k >= 1.

    Returns:
        alpha, of the shape of `eigenvalues`.

    Raises:
        TypeError: `eigenvalues` is not floating-point.
        ValueError: lr or `steps` out of range.

    Source: Goodfellow, Bengio and Courville, "Deep Learning", 2016, section 7.8.

    >>> early_stopping_as_l2(torch.tensor([1.0]), lr=0.5, steps=1)    # w = w*/2 both ways
    tensor([1.])
    """
    require(steps >= 1, "early_stopping_as_l2", "steps", ">= 1", steps)
    require_floating("early_stopping_as_l2", eigenvalues=eigenvalues)
    require(0 < lr < math.inf, "early_stopping_as_l2", "lr", "finite and > 0", lr)
    left = (1 - lr * eigenvalues) ** steps
    return eigenvalues * left / (1 - left)
