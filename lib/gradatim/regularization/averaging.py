"""Averages of weights along the training: exponential (EMA) and uniform (SWA), and the batch norms they need."""

import copy
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from .._check import checked, require, require_tensor, require_type
from ..normalization import BatchNorm


class WeightAverage(nn.Module):
    """A copy of a model whose parameters are an average of the model's. Base of EMA and SWA.

    Call `update_parameters(model)` after optimizer.step(); use the average as a model. State names as
    torch.optim.swa_utils.AveragedModel: `module.*` and `n_averaged`.

    Args:
        model: copied.
        use_buffers: average the floating-point buffers too; otherwise they are copied from the model at every update.
    """

    n_averaged: Tensor

    @checked
    def __init__(self, model: nn.Module, *, use_buffers: bool = False) -> None:
        super().__init__()
        self.module = copy.deepcopy(model)
        self.use_buffers = use_buffers
        first = next(model.parameters(), torch.zeros(()))
        self.register_buffer("n_averaged", torch.zeros((), dtype=torch.long, device=first.device))

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """The averaged model's output."""
        return self.module(*args, **kwargs)

    def weight_of_new(self) -> Tensor:
        """The weight of the next model in the average, a 0-dimensional tensor; 1 for the first."""
        raise NotImplementedError

    @torch.no_grad()
    def update_parameters(self, model: nn.Module) -> None:
        """average <- average + w * (model - average), with w = `weight_of_new()`; no value is read on the host.

        Args:
            model: of the averaged model's architecture.

        Raises:
            ValueError: another number of parameters.
        """
        mine, theirs = list(self.module.parameters()), list(model.parameters())
        rule = f"of the averaged model's architecture, with {len(mine)} parameters"
        require(len(mine) == len(theirs), type(self).__name__, "model", rule, len(theirs))
        pairs: list[tuple[Tensor, Tensor]] = list(zip(mine, theirs, strict=True))
        for average, new in zip(self.module.buffers(), model.buffers(), strict=True):
            if self.use_buffers and average.is_floating_point():
                pairs.append((average, new))
            else:
                average.copy_(new)
        w = self.weight_of_new()
        first = self.n_averaged == 0
        for average, new in pairs:
            value = new.detach().to(average)
            step = (value - average) * w.to(average)
            average.copy_(
                torch.where(first, value, average + step)
            )  # exact: an infinite average is forgotten
        self.n_averaged += 1


class EMA(WeightAverage):
    """Exponential moving average of the weights.

        average <- decay * average + (1 - decay) * weights        the first time: average <- weights

    It remembers about the last 1 / (1 - decay) steps. With `warmup`, decay is min(decay, (1 + n) / (10 + n)) after n
    updates, so that the first steps are forgotten sooner.

    Args:
        model: copied.
        decay: weight of the past, in [0, 1).
        warmup: begin with a smaller decay.
        use_buffers: average the floating-point buffers too; otherwise they are copied from the model at every update.

    Raises:
        ValueError: decay outside [0, 1).

    Source: Polyak and Juditsky, SIAM J. Control Optim. 30(4), 1992 (averaging).

    >>> model = nn.Linear(1, 1, bias=False)
    >>> average = EMA(model, decay=0.75)
    >>> for w in (0.0, 4.0, 4.0):
    ...     _ = nn.init.constant_(model.weight, w)
    ...     average.update_parameters(model)
    >>> average.module.weight.item()       # 0, then 1, then 1 + 3/4
    1.75
    """

    @checked
    def __init__(
        self, model: nn.Module, decay: float = 0.999, *, warmup: bool = False, use_buffers: bool = False
    ) -> None:
        super().__init__(model, use_buffers=use_buffers)
        require(0 <= decay < 1, "EMA", "decay", "in [0, 1)", decay)
        self.decay, self.warmup = decay, warmup

    def weight_of_new(self) -> Tensor:
        """1 - decay."""
        n = self.n_averaged.to(torch.float32 if self.n_averaged.device.type == "mps" else torch.float64)
        decay = torch.full_like(n, self.decay)
        return 1 - (torch.minimum(decay, (1 + n) / (10 + n)) if self.warmup else decay)


class SWA(WeightAverage):
    """Stochastic weight averaging: the plain mean of the weights at the updates.

        average <- (n * average + weights) / (n + 1)

    Update it once an epoch late in training, with a constant or cyclic learning rate; then recalibrate the batch
    norms with `update_bn`, for their statistics belong to other weights.

    Args:
        model: copied.
        use_buffers: average the floating-point buffers too; otherwise they are copied from the model at every update.

    Source: Izmailov et al., "Averaging Weights Leads to Wider Optima and Better Generalization", arXiv:1803.05407,
    Algorithm 1.

    >>> model = nn.Linear(1, 1, bias=False)
    >>> average = SWA(model)
    >>> for w in (0.0, 4.0, 5.0):
    ...     _ = nn.init.constant_(model.weight, w)
    ...     average.update_parameters(model)
    >>> average.module.weight.item()
    3.0
    """

    def weight_of_new(self) -> Tensor:
        """1 / (n + 1)."""
        kind = torch.float32 if self.n_averaged.device.type == "mps" else torch.float64
        return 1 / (self.n_averaged.to(kind) + 1)


@torch.no_grad()
@checked
def update_bn(loader: Iterable[Any], model: nn.Module, device: torch.device | str | None = None) -> None:
    """Compute the running statistics of the model's batch norms anew, as plain averages over `loader`.

    Args:
        loader: batches, or tuples whose first member is the input.
        model: with batch norms of this library or torch's; its mode and the norms' momenta are restored. Without any,
            nothing happens.
        device: where to move the inputs; None: leave them.

    Raises:
        TypeError: `loader` is not iterable, or a batch is no tensor.
        ValueError: no batch.
    """
    require_type(isinstance(loader, Iterable), "update_bn", "loader", "an iterable of batches", loader)
    kinds = (BatchNorm, nn.modules.batchnorm._BatchNorm)
    norms = [m for m in model.modules() if isinstance(m, kinds) and m.running_mean is not None]
    if not norms:
        return
    momenta, modes = [m.momentum for m in norms], [(m, m.training) for m in model.modules()]
    batches = 0
    try:
        model.train()
        for m in norms:
            m.reset_running_stats()
            m.momentum = None
        for batch in loader:
            x = batch[0] if isinstance(batch, tuple | list) else batch
            require_tensor("update_bn", batch=x)
            model(x if device is None else x.to(device))
            batches += 1
    finally:
        for m, momentum in zip(norms, momenta, strict=True):
            m.momentum = momentum
        for module, training in modes:
            module.training = training
    require(batches > 0, "update_bn", "loader", "at least one batch", 0)
