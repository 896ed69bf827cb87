"""The worker's torch: a clean state before every call, what a sandbox cannot run made harmless, advisory bans."""

from __future__ import annotations

import contextlib
import functools
import importlib
import inspect
import random
import sys
import types
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch.overrides import TorchFunctionMode

from .failure import REFUSED

RECURSION_LIMIT = 1000


class ForbiddenCall(RuntimeError):
    """The answer used what its exercise asks to be written by hand."""


def _settings() -> list[tuple[Any, Any, Any]]:
    """(get, set, clean value) for each global setting that student code may have left changed."""
    return [
        (torch.get_default_dtype, torch.set_default_dtype, torch.float32),
        (torch.is_grad_enabled, torch._C._set_grad_enabled, True),
        (torch.is_anomaly_enabled, torch.autograd.set_detect_anomaly, False),
        (torch.get_num_threads, torch.set_num_threads, 1),
        (sys.getrecursionlimit, sys.setrecursionlimit, RECURSION_LIMIT),
        (torch.get_float32_matmul_precision, torch.set_float32_matmul_precision, "highest"),
        (torch.are_deterministic_algorithms_enabled, torch.use_deterministic_algorithms, False),
        (lambda: torch.is_autocast_enabled("cpu"), lambda on: torch.set_autocast_enabled("cpu", on), False),
        (_default_device, torch.set_default_device, None),
    ]


def _default_device() -> torch.device | None:
    context = getattr(torch._GLOBAL_DEVICE_CONTEXT, "device_context", None)
    return None if context is None else context.device


SETTINGS = _settings()


def reset() -> None:
    """Every setting at torch's own default, with one thread."""
    for get, put, clean in SETTINGS:
        if get() != clean:
            put(clean)


def seed(value: int) -> None:
    torch.manual_seed(value % 2**63)
    random.seed(value)
    np.random.seed(value % 2**32)  # noqa: NPY002 - the global generator is the one that notebooks use


class CellState:
    """The notebook's own settings, which one cell leaves to the next, kept apart from the calls between cells.

    Cells mostly follow one another, with no call between them and nothing to keep.
    """

    def __init__(self):
        self._values: list[Any] = [clean for _, _, clean in SETTINGS]
        self._random: tuple[Any, Any, Any] | None = None
        self._within = False

    def enter(self) -> None:
        """Before a cell: as the last one left it."""
        if self._within:
            return
        self._within = True
        for (get, put, _), value in zip(SETTINGS, self._values, strict=True):
            if get() != value:
                put(value)
        if self._random is not None:
            torch.set_rng_state(self._random[0])
            random.setstate(self._random[1])
            np.random.set_state(self._random[2])  # noqa: NPY002

    def leave(self) -> None:
        """Before a call."""
        if self._within:
            self._within = False
            self._values = [get() for get, _, _ in SETTINGS]
            self._random = (torch.get_rng_state(), random.getstate(), np.random.get_state())  # noqa: NPY002


def _refusal(name: str) -> ForbiddenCall:
    return ForbiddenCall(f"{name} {REFUSED}")


class _Ban(TorchFunctionMode):
    def __init__(self, functions: dict[int, str]):
        super().__init__()
        self._functions = functions

    def __torch_function__(self, func, types, args=(), kwargs=None):
        name = self._functions.get(id(func))
        if name is None:  # reading an attribute arrives as a fresh `attribute.__get__`
            name = self._functions.get(id(getattr(func, "__self__", self)))
        if name is not None:
            raise _refusal(name)
        return func(*args, **(kwargs or {}))


def resolve(name: str) -> tuple[Any, str, Any]:
    """The owner, last name and object of a dotted name such as "torch.optim.Adam". Raises LookupError."""
    parts = name.split(".")
    for length in range(len(parts) - 1, 0, -1):
        try:
            owner: Any = importlib.import_module(".".join(parts[:length]))
            for part in parts[length:-1]:
                owner = getattr(owner, part)
            return owner, parts[-1], getattr(owner, parts[-1])
        except (ImportError, AttributeError):
            continue
    raise LookupError(name)


@contextlib.contextmanager
def banned(names: tuple[str, ...]) -> Iterator[None]:
    """Have calls of these functions, and the making of objects of these classes, raise ForbiddenCall."""
    if not names:
        yield
        return
    bans = _bans(names)
    with contextlib.ExitStack() as stack:
        for owner, name, value in bans.replaced:
            _replace(owner, name, value, stack)
        _override(bans.operators, stack)
        if bans.functions:  # with a mode in force, every operation takes twice its time
            stack.enter_context(_Ban(bans.functions))
        yield


class _Bans:
    """What refusing some names comes to. Made once: an answer is called a hundred times under the same bans."""

    def __init__(self, names: tuple[str, ...]):
        self.functions: dict[int, str] = {}  # id(function) -> its name, for the mode
        self.replaced: list[tuple[Any, str, Any]] = []  # owner, attribute, what stands there meanwhile
        # operator -> what is to be reported, and the dispatch key under which it refuses
        self.operators = {operator: (name, "CPU") for operator, name in _kernels(names).items()}
        self._alive: list[Any] = []  # or their ids could become others'
        for name in names:
            with contextlib.suppress(LookupError):
                self._add(name)
        if "torch.autograd.grad" in names:
            self._add_differentiation()

    def _add(self, name: str) -> None:
        owner, last, target = resolve(name)
        if not isinstance(target, types.ModuleType):
            self._add_object(name, owner, last, target)
            return
        for inner, value in vars(target).items():
            if not inner.startswith("_") and getattr(value, "__module__", "").startswith(target.__name__):
                self._add_object(f"{name}.{inner}", target, inner, value)

    def _add_object(self, name: str, owner: Any, last: str, target: Any) -> None:
        if inspect.isclass(target):
            self.replaced.append((target, "__init__", _refusing_class(name, target)))
            return
        if name.startswith("torch."):  # only torch's own functions reach a mode
            self.functions[id(target)] = name
            self._alive.append(target)
        if isinstance(owner, types.ModuleType) and inspect.isfunction(target):

            @functools.wraps(target)
            def refuse_call(*args, **kwargs):
                raise _refusal(name)

            if target not in torch.overrides.get_overridable_functions().get(owner, ()):
                self.replaced.append((owner, last, refuse_call))

    def _add_differentiation(self) -> None:
        """No gradients by torch: neither backward, nor forward, nor by calling the graph's nodes one by one."""
        self.replaced.append((torch.autograd.Variable, "_execution_engine", _NoEngine()))
        self.operators["_make_dual"] = ("torch.autograd.forward_ad", "AutogradCPU")
        self.functions[id(torch.Tensor.grad_fn)] = "torch.Tensor.grad_fn"


_bans = functools.cache(_Bans)


def _refusing_class(name: str, target: Any) -> Any:
    """An `__init__` that refuses to make objects of the class, unless one of torch's own is made on its base."""
    original = target.__init__

    @functools.wraps(original)
    def refuse(self, *args, **kwargs):
        if type(self) is target or not type(self).__module__.startswith("torch."):
            raise _refusal(name)
        original(self, *args, **kwargs)

    return refuse


def _kernels(names: tuple[str, ...]) -> dict[str, str]:
    """The operators on the processor that forbidden functions end in, by operator: what is to be reported.

    Refusing the operator itself also reaches other threads, TorchScript and calls that torch's modes do not see.
    """
    found: dict[str, str] = {}
    for name in names:
        owner, _, last = name.rpartition(".")
        if owner in ("torch.ops.aten", "torch._C._nn"):
            for operator in (last, f"{last}_forward"):
                for overload in (operator, f"{operator}.out", f"{operator}.output"):
                    with contextlib.suppress(RuntimeError):  # no such operator
                        if torch._C._dispatch_has_kernel_for_dispatch_key(f"aten::{overload}", "CPU"):
                            found.setdefault(overload, name)
    return found


def _override(operators: dict[str, tuple[str, str]], stack: contextlib.ExitStack) -> None:
    """Have operators refuse: by operator, what is to be reported and the dispatch key."""
    if not operators:
        return
    library = torch.library.Library("aten", "IMPL")
    stack.callback(library._destroy)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that a kernel is overridden
        for operator, (name, key) in operators.items():
            library.impl(operator, functools.partial(_refuse, name), key)


def _refuse(name: str, *args: Any, **kwargs: Any) -> Any:
    raise _refusal(name)


class _NoEngine:
    """In place of the engine that every way of asking for a gradient ends in."""

    def __getattr__(self, name: str) -> Any:
        raise _refusal("torch.autograd")


def _replace(owner: Any, name: str, value: Any, stack: contextlib.ExitStack) -> None:
    original = vars(owner).get(name)
    with contextlib.suppress(TypeError, AttributeError):
        setattr(owner, name, value)
        if original is None:
            stack.callback(delattr, owner, name)
        else:
            stack.callback(setattr, owner, name, original)


def make_harmless() -> None:
    """Worker processes and compilers cannot run in the sandbox; the same values come without them."""
    from torch.utils.data import DataLoader

    original = DataLoader.__init__

    @functools.wraps(original)
    def in_process(self, *args, **kwargs):
        if len(args) > 5:  # dataset, batch_size, shuffle, sampler, batch_sampler, num_workers
            args = (*args[:5], 0, *args[6:])
        kwargs = {k: v for k, v in kwargs.items() if k not in _WORKER_OPTIONS}
        original(self, *args, **kwargs)

    def compile_nothing(model=None, **options):
        return (lambda function: function) if model is None else model

    DataLoader.__init__ = in_process
    torch.compile = compile_nothing
    torch.nn.Module.compile = lambda self, *args, **kwargs: None


_WORKER_OPTIONS = {
    *("num_workers", "persistent_workers", "prefetch_factor", "multiprocessing_context", "worker_init_fn"),
    *("timeout", "pin_memory"),
}
