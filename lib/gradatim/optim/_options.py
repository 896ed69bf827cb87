"""Checks of hyperparameters. A message says the rule in one sentence and, in brackets, what torch says there."""

import math
import numbers
from collections.abc import Iterable, Sequence
from typing import Any

from torch import Tensor

from .._check import require, require_type, shown

Group = dict[str, Any]


def check_params(where: str, params: Any) -> list[Any]:
    """Parameters, (name, parameter) pairs or groups as a list; torch checks what the groups hold."""
    says = "params argument given to the optimizer should be an iterable of Tensors or dicts"
    rule = "tensors, (name, tensor) pairs or parameter groups"
    plain = isinstance(params, Iterable) and not isinstance(params, (Tensor, str, dict))
    if not plain:
        raise TypeError(f"{where}: params must be {rule}, got {shown(params)} ({says})")
    listed = list(params)
    require(len(listed) > 0, where, "params", "at least one", listed, "optimizer got an empty parameter list")
    for entry in listed:
        if isinstance(entry, dict):
            require("params" in entry, where, "every group", "a dict with the key 'params'", list(entry))
            continue
        named = isinstance(entry, tuple) and len(entry) == 2 and isinstance(entry[0], str)
        if not isinstance(entry[1] if named else entry, Tensor):
            says = f"optimizer can only optimize Tensors, but one of the params is {type(entry).__name__}"
            raise TypeError(f"{where}: params must be {rule}, got {shown(entry)} ({says})")
    return listed


def check_number(where: str, name: str, value: Any) -> bool:
    """Refuse what is no real number and no one-element tensor of them; True where it may be read without waiting."""
    if isinstance(value, Tensor):
        says = f"Tensor {name} must be 1-element"
        rule = "a number or a 1-element tensor"
        require(value.numel() == 1 and not value.is_complex(), where, name, rule, tuple(value.shape), says)
        return value.device.type == "cpu"
    real = isinstance(value, numbers.Real) and not isinstance(value, bool)
    if not real:
        raise TypeError(f"{where}: {name} must be a number, got {shown(value)}")
    return True


def check_count(where: str, options: Group, name: str, *, least: int = 0) -> None:
    """A hyperparameter that is an integer >= `least`."""
    value = options[name]
    integer = isinstance(value, numbers.Integral) and not isinstance(value, bool)
    require_type(integer, where, name, f"an integer >= {least}", value)
    require(value >= least, where, name, f">= {least}", value)


def check_numbers(where: str, options: Group, name: str, count: int, rule: str) -> None:
    """A list or tuple of so many numbers."""
    values = options[name]
    require_type(isinstance(values, Sequence) and not isinstance(values, str), where, name, rule, values)
    require(len(values) == count, where, name, rule, values)
    for i, value in enumerate(values):
        check_number(where, f"{name}[{i}]", value)


def check_lr(where: str, options: Group) -> None:
    """The learning rate: a number or a one-element tensor, >= 0."""
    lr = options["lr"]
    if check_number(where, "lr", lr):
        require(bool(lr >= 0), where, "lr", ">= 0", lr, f"Invalid learning rate: {lr}")


def check_not_negative(where: str, options: Group, *names: str) -> None:
    """Hyperparameters that are any number >= 0."""
    for name in names:
        value = options[name]
        if check_number(where, name, value):
            word = "epsilon" if name == "eps" else name
            require(bool(value >= 0), where, name, ">= 0", value, f"Invalid {word} value: {value}")


def check_finite(where: str, options: Group, *names: str) -> None:
    """Hyperparameters that are any finite number."""
    for name in names:
        if check_number(where, name, options[name]):
            require(math.isfinite(options[name]), where, name, "finite", options[name])


def check_betas(where: str, options: Group) -> None:
    """A pair of decay rates, each in [0, 1)."""
    betas = options["betas"]
    check_numbers(where, options, "betas", 2, "a pair")
    kinds = {isinstance(beta, Tensor) for beta in betas}
    says = "betas must be either both floats or both Tensors"
    require(len(kinds) == 1, where, "betas", "two numbers or two tensors", betas, says)
    for i, beta in enumerate(betas):
        if isinstance(beta, Tensor) and beta.device.type != "cpu":
            continue  # reading it would wait for the device
        says = f"Invalid beta parameter at index {i}: {beta}"
        require(bool(0 <= beta < 1), where, f"betas[{i}]", "in [0, 1)", beta, says)


def refuse_tensors_in_lists(where: str, options: Group) -> None:
    """The list form takes numbers only; a captured graph uses the formula, so tensors are fine there."""
    if not options.get("foreach") or options.get("capturable"):
        return
    named = [("lr", options["lr"]), *((f"betas[{i}]", beta) for i, beta in enumerate(options["betas"]))]
    for name, value in named:
        label = "lr" if name == "lr" else name
        says = f"{label} as a Tensor is not supported for capturable=False and foreach=True"
        rule = "a number where foreach=True and capturable=False"
        require(not isinstance(value, Tensor), where, name, rule, value, says)
