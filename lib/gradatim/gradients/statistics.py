"""Recording the size of activations and gradients while a model runs: where signals vanish, explode or die."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from .._check import checked, require, require_dims, require_floating, require_same_shape

#: The names of the numbers that `statistics` returns, in their order.
STATISTICS = ("mean", "std", "rms", "zero_fraction", "largest")


@checked
def statistics(x: Tensor) -> Tensor:
    """(mean, std, rms, zero_fraction, largest) of all entries, in float32 or wider, without waiting for the device.

    std: over all entries, divided by their number. zero_fraction: share of entries that are exactly 0, for relu the
    units that are off. largest: the greatest absolute value; nan and inf stay visible in it.

    Args:
        x: any shape, not empty, floating-point.

    Returns:
        Shape (5,), in the order of `STATISTICS`.

    Raises:
        TypeError: x is not floating-point.
        ValueError: no entries.
    """
    require_floating("statistics", x=x)
    require(x.numel() > 0, "statistics", "x", "of at least one entry", tuple(x.shape))
    x = x.detach()
    x = x.float() if x.dtype in (torch.float16, torch.bfloat16) else x
    mean = x.mean()
    std = (x - mean).square().mean().sqrt()
    zero = (x == 0).to(x.dtype).mean()
    return torch.stack([mean, std, x.square().mean().sqrt(), zero, x.abs().amax()])


class Recorder:
    """Statistics of every module's output and of the gradient that arrives there, pass by pass.

        with Recorder(model) as recorder:
            loss_fn(model(x), y).backward()
        recorder.table()["2", "activation"]["std"]      # one number per forward pass

    The model's results do not change, the hooks are gone when the block ends, and the statistics stay on the device
    until `table` is called. A module that returns something else than a tensor is left out.

    Args:
        model: a module.
        keep: called as keep(name, module), chooses modules; None: those without children.

    Raises:
        ValueError: no module was chosen.
    """

    @checked
    def __init__(self, model: nn.Module, keep: Callable[[str, nn.Module], bool] | None = None) -> None:
        chosen = keep or (lambda name, module: not any(True for _ in module.children()))
        self.modules = {name: module for name, module in model.named_modules() if chosen(name, module)}
        require(len(self.modules) > 0, "Recorder", "keep", "true for at least one module", 0)
        self.records: dict[tuple[str, str], list[Tensor]] = {}
        self._handles: list[Any] = []

    def __enter__(self) -> "Recorder":
        for name, module in self.modules.items():
            self._handles.append(module.register_forward_hook(self._hook(name)))
        return self

    def __exit__(self, *exception: object) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles.clear()

    def _hook(self, name: str) -> Callable[[nn.Module, Any, Any], None]:
        def record(module: nn.Module, inputs: Any, output: Any) -> None:
            if not isinstance(output, Tensor) or not output.is_floating_point() or output.numel() == 0:
                return
            self.records.setdefault((name, "activation"), []).append(statistics(output))
            if output.requires_grad:
                self._handles.append(output.register_hook(record_gradient))

        def record_gradient(grad: Tensor) -> None:
            self.records.setdefault((name, "gradient"), []).append(statistics(grad))

        return record

    def table(self) -> dict[tuple[str, str], dict[str, list[float]]]:
        """{(module, "activation" or "gradient"): {statistic: one number per pass}}; waits for the device."""
        out = {}
        for key, passes in self.records.items():
            columns = zip(*(row.tolist() for row in passes), strict=True)
            out[key] = dict(zip(STATISTICS, map(list, columns), strict=False))
        return out


@checked
def update_ratio(parameter: Tensor, before: Tensor) -> Tensor:
    """||new - old|| / ||old||: how far one step moved a parameter, relative to its size. About 1e-3 is usual.

    Args:
        parameter: after the step, any shape, floating-point.
        before: a copy from before the step, of the same shape.

    Returns:
        A number >= 0, shape (); inf or nan if the parameter was 0.

    Raises:
        TypeError: a tensor is not floating-point.
        ValueError: the shapes differ.

    >>> update_ratio(torch.tensor([3.0, 3.0]), before=torch.tensor([3.0, 4.0]))
    tensor(0.2000)
    """
    require_floating("update_ratio", parameter=parameter, before=before)
    require_same_shape("update_ratio", parameter=parameter, before=before)
    old = torch.linalg.vector_norm(before.detach())
    return torch.linalg.vector_norm(parameter.detach() - before.detach()) / old


@checked(boolean=("activations",))
def dead_fraction(activations: Tensor, dims: tuple[int, ...] = (0,)) -> Tensor:
    """The share of units that are 0 for every sample: relu units that no sample reaches, and no gradient moves.

    Args:
        activations: after the relu, any shape, not empty.
        dims: the axes of the samples (and pixels).

    Returns:
        A number in [0, 1], shape ().

    Raises:
        TypeError: `dims` is no list or tuple of integers.
        ValueError: no such axis; no entries.

    >>> dead_fraction(torch.tensor([[0.0, 1.0], [0.0, 0.0]]))    # the first unit is off for both samples
    tensor(0.5000)
    """
    require_dims("dead_fraction", activations, dims)
    shape = tuple(activations.shape)
    require(activations.numel() > 0, "dead_fraction", "activations", "of at least one entry", shape)
    return (activations == 0).all(dim=dims).float().mean()
