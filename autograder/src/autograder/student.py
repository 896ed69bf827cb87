"""The student's module as hidden tests see it: the same whether it runs in this process or in the sandbox.

`RemoteStudent` reaches a submission through its worker. `LocalStudent` wraps a namespace of this process: the reference
solution, an alternative, a planted wrong answer. Both offer functions, classes, objects and values by name; results are
plain data, objects are proxies, and what the student's code raises arrives as a StudentFailure.
"""

from __future__ import annotations

import collections
import contextlib
import functools
import inspect
import types
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch.utils.weak import TensorWeakRef

from .sandbox.failure import STANDARD, StudentFailure, failure
from .sandbox.operations import OPERATIONS, Listed, kind_of
from .sandbox.remote import Remote, lost
from .sandbox.submission import Worker
from .sandbox.values import raw_bytes

__all__ = ["LocalStudent", "OnCall", "RemoteStudent", "StudentFailure", "StudentObject"]

OnCall = Callable[[str, Any], None]


class StudentObject:
    """A function, class or object of the student's. Operations on it run where it lives.

    A subclass supplies `_perform(operation, *args, **kwargs)`; the operations are `sandbox.operations.OPERATIONS`.
    """

    _label = "object"

    def _perform(self, operation: str, *args: Any, **kwargs: Any) -> Any:
        raise NotImplementedError

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._perform("call", *args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") and name.endswith("__"):
            raise AttributeError(name)
        return self._perform("getattr", name)

    def __setattr__(self, name: str, value: Any) -> None:
        if name in _OWN_FIELDS:
            object.__setattr__(self, name, value)
        else:
            self._perform("setattr", name, value)

    def __delattr__(self, name: str) -> None:
        self._perform("delattr", name)

    def __getitem__(self, key: Any) -> Any:
        return self._perform("getitem", key)

    def __setitem__(self, key: Any, value: Any) -> None:
        self._perform("setitem", key, value)

    def __delitem__(self, key: Any) -> None:
        self._perform("delitem", key)

    def __len__(self) -> int:
        return int(self._perform("len"))

    def __contains__(self, item: Any) -> bool:
        return bool(self._perform("contains", item))

    def __iter__(self) -> Iterator[Any]:
        iterator = self._perform("iter")
        if not isinstance(iterator, StudentObject):
            yield from iterator
            return
        while True:
            item = iterator._perform("next")
            if not isinstance(item, tuple) or len(item) != 1:
                return
            yield item[0]

    def __next__(self) -> Any:
        item = self._perform("next")
        if not isinstance(item, tuple) or len(item) != 1:
            raise StopIteration
        return item[0]

    def __enter__(self) -> Any:
        return self._perform("enter")

    def __exit__(self, *_: object) -> None:
        self._perform("exit")

    def __float__(self) -> float:
        return float(self._perform("float"))

    def __int__(self) -> int:
        return int(self._perform("int"))

    def __dir__(self) -> list[str]:
        return [str(name) for name in self._perform("dir")]

    def __repr__(self) -> str:
        return f"<the student's {self._label}>"

    __hash__ = object.__hash__


def _label_of(kind: str) -> str:
    """What messages call an object. Not by its class: that name is the student's, and may spell a hidden input."""
    return kind if kind in ("module", "optimizer") else "object"


def _forward(operation: str) -> Callable[..., Any]:
    def method(self: StudentObject, *args: Any) -> Any:
        return self._perform(operation, *args)

    return method


for _name in (
    *("neg", "pos", "invert", "abs", "add", "sub", "mul", "matmul", "truediv", "floordiv", "mod", "pow"),
    *("iadd", "isub", "imul", "lt", "le", "gt", "ge", "round", "divmod"),
):
    setattr(StudentObject, f"__{_name}__", _forward(_name))

_OWN_FIELDS = {
    "_worker",
    "_remote",
    "_number",
    "_label",
    "_kind",
    "_methods",
    "_owner",
    "_name",
    "_value",
    "_student",
}


# In the sandbox


class RemoteStudent:
    """A submission's names, through its worker. `on_call(name, result or failure)` is told of every call."""

    def __init__(self, worker: Worker, on_call: OnCall | None = None):
        object.__setattr__(self, "_worker", worker)
        object.__setattr__(self, "_found", {})
        worker.on_call = on_call

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") and name.endswith("__"):
            raise AttributeError(name)
        if name not in self._found:
            value = self._worker.do("lookup", name, name=name)
            if not isinstance(value, RemoteNamed):
                return value  # data and objects can be others the next time
            # the worker finds it by name at every call, so it is asked only once
            self._found[name] = RemoteNamed(self._worker, name, value._kind)
        return self._found[name]

    def __dir__(self) -> list[str]:
        return self._worker.names()


class RemoteObject(StudentObject):
    """An object that lives in the worker, by its number there."""

    def __init__(self, worker: Worker, remote: Remote, number: int, kind: str):
        self._worker, self._remote, self._number = worker, remote, number
        self._label, self._kind, self._methods = _label_of(kind), kind, set()

    def _perform(self, operation: str, *args: Any, **kwargs: Any) -> Any:
        if not self._remote.alive:
            raise lost(f"the student's {self._label}")
        name = self._label if operation in _QUIET else f"{self._label}.{_SPOKEN.get(operation, operation)}"
        if operation in ("getattr", "setattr", "delattr"):
            name = f"{self._label}.{args[0]}"
        result = self._worker.do(operation, self, *args, name=name, remote=self._remote, **kwargs)
        if operation == "getattr" and isinstance(result, _RemoteMethod):
            self._methods.add(args[0])
            return _RemoteMethod(self, args[0])
        return result

    def __getattr__(self, name: str) -> Any:
        if name in self._methods:
            return _RemoteMethod(self, name)
        return super().__getattr__(name)

    @property
    def __class__(self) -> type:
        return _SHOWN_AS.get(self._kind, RemoteObject)

    def __del__(self) -> None:
        with contextlib.suppress(AttributeError):
            self._remote.release_object(self._number)

    @staticmethod
    def _node(value: RemoteObject, remote: Remote) -> dict[str, Any]:
        if value._remote is not remote:
            raise lost(f"the student's {value._label}")
        return {"$": "h", "i": value._number}


_QUIET = {"call", "iter", "next", "enter", "exit", "len", "bool"}
_SPOKEN: dict[str, str] = {}
_SHOWN_AS = {"module": torch.nn.Module, "optimizer": torch.optim.Optimizer}


class _RemoteMethod:
    """A method of an object in the worker."""

    def __init__(self, owner: RemoteObject | None, name: str):
        self._owner, self._name = owner, name

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        owner = self._owner
        if not owner._remote.alive:
            raise lost(f"the student's {owner._label}")
        label = f"{owner._label}.{self._name}"
        return owner._worker.do(
            "method", owner, self._name, *args, name=label, remote=owner._remote, **kwargs
        )

    def __repr__(self) -> str:
        return f"<the student's {self._owner._label}.{self._name}>"


class RemoteNamed(StudentObject):
    """A function or class by name: it is the same one after the worker's process was restarted."""

    def __init__(self, worker: Worker, name: str, kind: str):
        self._worker, self._label, self._kind = worker, name, kind

    def _perform(self, operation: str, *args: Any, **kwargs: Any) -> Any:
        name = f"{self._label}.{args[0]}" if operation == "getattr" else self._label
        result = self._worker.do(operation, self, *args, name=name, **kwargs)
        if operation == "call" and type(result) is RemoteObject:
            result._label = self._label
        if operation == "getattr" and isinstance(result, _RemoteMethod):
            return lambda *a, **k: self._worker.do("method", self, args[0], *a, name=name, **k)
        return result

    @staticmethod
    def _node(value: RemoteNamed, remote: Remote) -> dict[str, Any]:
        return {"$": "nm", "v": value._label}


def make_remote(worker: Worker, remote: Remote, node: dict[str, Any]) -> Any:
    """The proxy for a node that names a thing in the worker."""
    match node["$"]:
        case "h":
            return RemoteObject(worker, remote, node["i"], node["k"])
        case "nm":  # who looked it up knows its name
            return RemoteNamed(worker, "", node["k"])
    return _RemoteMethod(None, "")


# In this process


class LocalStudent:
    """The names of a namespace in this process, seen as a submission's would be."""

    def __init__(self, namespace: dict[str, Any], on_call: OnCall | None = None):
        self._namespace, self._on_call = namespace, on_call
        self._passed: list[tuple[TensorWeakRef, bytes]] = []
        self._own_errors: list[BaseException] = []

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") and name.endswith("__"):
            raise AttributeError(name)
        try:
            value = self._namespace[name]
        except KeyError:
            raise failure("missing", f"{name} is not defined in the notebook", ("AttributeError",)) from None
        return self._outward(value, name)

    def __dir__(self) -> list[str]:
        return [name for name in self._namespace if not name.startswith("__")]

    def _outward(self, value: Any, label: str) -> Any:
        """What a test gets for a value of the student's: data as it is, anything else behind a proxy."""
        if value is None or type(value) in _DATA:
            return value
        if isinstance(value, torch.Tensor):
            return (
                value
                if type(value) in (torch.Tensor, torch.nn.Parameter)
                else value.as_subclass(torch.Tensor)
            )
        if type(value) in (
            list,
            tuple,
            set,
            frozenset,
            dict,
            collections.OrderedDict,
            collections.defaultdict,
        ):
            return _map_container(value, lambda item: self._outward(item, label))
        if type(value).__module__.partition(".")[0] in ("numpy", "torch") and not isinstance(
            value, torch.nn.Module | torch.optim.Optimizer
        ):
            return value
        if isinstance(value, types.GeneratorType) or not _is_proxied(value):
            return value
        named = inspect.isclass(value) or inspect.isroutine(value)
        return LocalObject(self, value, label if named else _label_of(kind_of(value)))

    def _inward(self, value: Any) -> Any:
        """What the student's code gets for an argument of a test: the object itself for a proxy."""
        if isinstance(value, torch.Tensor) and self._on_call is not None:
            self._passed.append((TensorWeakRef(value), raw_bytes(value)))
        if type(value) is LocalObject:
            return value._value
        if isinstance(value, types.FunctionType):
            return self._marking(value)
        if type(value) in (list, tuple, dict):
            return _map_container(value, self._inward)
        return value

    def _marking(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """The test's own function; what it raises is remembered as no fault of the student's."""

        @functools.wraps(function)
        def marked(*args: Any, **kwargs: Any) -> Any:
            try:
                return function(*args, **kwargs)
            except Exception as error:
                self._own_errors.append(error)
                raise

        return marked

    def _run(
        self, perform: Callable[..., Any], operation: str, label: str, target: Any, args: Any, kwargs: Any
    ) -> Any:
        """Run an operation on a student's object; what its code raises becomes the failure a worker would report."""
        arguments = [self._inward(arg) for arg in args]
        keywords = {name: self._inward(arg) for name, arg in kwargs.items()}
        try:
            result = perform(target, *arguments, **keywords)
        except StudentFailure:
            raise
        except Exception as error:
            if any(error is own for own in self._own_errors):
                raise
            problem = _failure_of(error, label)
            self._report(operation, label, problem)
            raise problem from error
        outward = self._outward(list(result.items) if isinstance(result, Listed) else result, label)
        self._report(operation, label, outward)
        return iter(outward) if isinstance(result, Listed) else outward

    def _report(self, operation: str, label: str, result: Any) -> None:
        if self._on_call is None or operation != "call":
            return
        self._on_call(label, result)
        changed, still = [], []
        for reference, before in self._passed:
            tensor = reference()
            if tensor is None or any(tensor is other for other in changed):
                continue
            now = raw_bytes(tensor)
            if now != before:
                changed.append(tensor)
            still.append((reference, now))
        self._passed = still
        if changed:
            self._on_call(f"{label} changed", tuple(changed))


def _failure_of(error: Exception, label: str) -> StudentFailure:
    bases = tuple(base.__name__ for base in type(error).__mro__ if STANDARD.get(base.__name__) is base)
    kind = "memory" if isinstance(error, MemoryError) else "raised"
    return failure(kind, f"{label} raised {type(error).__name__}: {error}".removesuffix(": "), bases)


_DATA = (
    bool,
    int,
    float,
    complex,
    str,
    bytes,
    slice,
    range,
    type(...),
    torch.dtype,
    torch.device,
    torch.Size,
)


def _is_proxied(value: Any) -> bool:
    return not isinstance(value, StudentObject)


def _map_container(value: Any, convert: Callable[[Any], Any]) -> Any:
    """The container itself where no item needs converting, so that it stays the student's own; else a copy."""
    if isinstance(value, dict):
        converted = {key: convert(item) for key, item in value.items()}
        return value if all(converted[key] is value[key] for key in value) else converted
    items = [convert(item) for item in value]
    return value if all(a is b for a, b in zip(items, value, strict=True)) else type(value)(items)


class LocalObject(StudentObject):
    """An object of this process behind the same face as one of the worker's."""

    def __init__(self, student: LocalStudent, value: Any, label: str):
        self._student, self._value, self._label = student, value, label

    def _perform(self, operation: str, *args: Any, **kwargs: Any) -> Any:
        label = f"{self._label}.{args[0]}" if operation == "getattr" else self._label
        result = self._student._run(OPERATIONS[operation], operation, label, self._value, args, kwargs)
        if operation == "call" and type(result) is LocalObject:
            result._label = self._label
        return result

    @property
    def __class__(self) -> type:
        for shown in (torch.nn.Module, torch.optim.Optimizer):
            if isinstance(self._value, shown):
                return shown
        return LocalObject
