"""The trusted side's picture of one worker process: its objects by number, its tensors' twins, its graphs.

Nothing here believes the worker. Whatever it answers gives values, a StudentFailure or a WireError.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

import torch

from .containers import picture
from .failure import STANDARD, StudentFailure, failure, safe
from .modules import write_module
from .peer import Peer
from .reader import Reader
from .torchnames import torch_name
from .values import Writer
from .wire import WORKER_CAPS, WireError, refusing

MAX_NESTING = 20  # a student's function calling a test's function calling a student's function ...
MAX_RAISED = 100
Ask = Callable[[dict[str, Any], list[bytes], str], tuple[dict[str, Any], list[bytearray]]]


class Remote(Peer):
    """One worker process.

    `ask(message, buffers, name)` sends a request and returns the reply, or raises. `make_handle(remote, node)` makes
    the proxy of an object. `give_up()` ends the process.
    """

    reader_caps = WORKER_CAPS

    def __init__(
        self,
        ask: Ask,
        make_handle: Callable[[Remote, dict[str, Any]], Any],
        give_up: Callable[[], None] = lambda: None,
    ):
        super().__init__(first_id=0, strong=False)
        self._ask, self._make_handle, self._give_up = ask, make_handle, give_up
        self._handles: weakref.WeakValueDictionary[int, Any] = weakref.WeakValueDictionary()
        self._functions: list[Any] = []
        self._function_numbers: dict[int, int] = {}
        self._raised: list[Exception] = []
        self._released_objects: list[int] = []
        self._nesting = 0
        self.alive = True

    def do(
        self, operation: str, *args: Any, name: str = "", options: dict[str, Any] | None = None, **kwargs: Any
    ) -> Any:
        """Have the worker run an operation on its objects. Raises StudentFailure when the student's code fails."""
        writer = Writer(self)
        message = {
            "op": "do",
            "fn": operation,
            "args": [writer.node(arg) for arg in args],
            "kwargs": {key: writer.node(value) for key, value in kwargs.items()},
            "grad": torch.is_grad_enabled(),
            **(options or {}),
        }
        return self.request(message, writer, name)

    def send_request(
        self, message: dict[str, Any], buffers: list[bytes], name: str
    ) -> tuple[dict, list[bytearray]]:
        if not self.alive:
            raise lost(name)
        message["release_objects"], self._released_objects = self._released_objects, []
        return self._ask(message, buffers, name)

    def release_object(self, number: int) -> None:
        self._released_objects.append(number)

    def changed_own(self) -> tuple[torch.Tensor, ...]:
        """The test's own tensors whose values the last request changed."""
        return tuple(self.tensors.get(number) for number in self.changed if self.tensors.is_live_own(number))

    # Requests of the worker's

    def serve(self, message: dict[str, Any], buffers: list[bytearray]) -> tuple[dict[str, Any], list[bytes]]:
        """Answer a worker's request: a call of a function that a test passed in, or a derivative of such a call."""
        if self._nesting >= MAX_NESTING:
            raise WireError("calls are nested too deeply")
        self._nesting += 1
        self.tensors.begin_call()
        try:
            if message.get("op") == "callback":
                return self._run_function(message, buffers)
            if message.get("op") == "vjp":
                return self._differentiate_here(message, buffers)
            raise WireError("no such request")
        finally:
            self._nesting -= 1
            self.tensors.end_call(keep=False)

    def _run_function(
        self, message: dict[str, Any], buffers: list[bytearray]
    ) -> tuple[dict[str, Any], list[bytes]]:
        number, nodes, keywords = message.get("fn"), message.get("args"), message.get("kwargs")
        if type(number) is not int or not 0 < number <= len(self._functions):
            raise WireError("no such function")
        reader = Reader(self, buffers, self.reader_caps)
        with refusing("not a call"):
            args = [reader.value(node) for node in nodes]
            kwargs = {reader.text(key): reader.value(node) for key, node in keywords.items()}
            self.take_news(message, reader)
        before = [picture(value) for value in reader.mutable]
        passed = [value for value in (*args, *kwargs.values()) if isinstance(value, torch.Tensor)]
        try:
            with torch.set_grad_enabled(message.get("grad") is not False):
                result = self._functions[number - 1](*args, **kwargs)
                return self.answer_with(result, reader.mutable, before, stops=passed, keep=False)
        except Exception as error:
            return {"error": self._remember_raised(error)}, []

    def _differentiate_here(
        self, message: dict[str, Any], buffers: list[bytearray]
    ) -> tuple[dict, list[bytes]]:
        reader = Reader(self, buffers, self.reader_caps)
        with refusing("not a list of gradients"):
            gradients = [reader.value(node) for node in message["gradients"]]
            self.take_news(message, reader)
        if not all(gradient is None or isinstance(gradient, torch.Tensor) for gradient in gradients):
            raise WireError("not a list of gradients")
        try:
            with torch.enable_grad():
                found = self.graphs.differentiate(
                    message.get("graph"), gradients, message.get("create_graph") is True
                )
                return self.answer_with(found, [], [], stops=[], keep=False)
        except RuntimeError as error:
            return {"error": self._remember_raised(error)}, []

    def _remember_raised(self, error: Exception) -> dict[str, Any]:
        if len(self._raised) >= MAX_RAISED:
            raise WireError("the test's own function failed too often")
        self._raised.append(error)
        bases = [base.__name__ for base in type(error).__mro__ if STANDARD.get(base.__name__) is base]
        return {"number": len(self._raised), "base": bases[0] if bases else None, "message": safe(str(error))}

    def raised(self, number: Any) -> Exception | None:
        """The exception of a test's own function, by the number under which the worker was told of it."""
        if type(number) is int and 0 < number <= len(self._raised):
            return self._raised[number - 1]
        return None

    # Objects

    def write_opaque(self, value: Any, writer: Writer) -> Any:
        node = getattr(type(value), "_node", None)
        if node is not None:
            return node(value, self)
        name = torch_name(value)
        if name is not None:
            return {"$": "tf", "v": name}
        if isinstance(value, torch.Generator):
            state = writer.node(value.get_state())
            writer.mutable.append(value)
            return {"$": "G", "v": state}
        if isinstance(value, torch.nn.Module):
            return write_module(value, writer)
        if callable(value):
            return self._write_function(value)
        raise TypeError(f"a {type(value).__name__} cannot be passed to a student's function")

    def _write_function(self, function: Any) -> dict[str, Any]:
        number = self._function_numbers.get(id(function))
        if number is None:
            self._functions.append(function)
            number = self._function_numbers[id(function)] = len(self._functions)
        return {"$": "cb", "i": number, "n": getattr(function, "__name__", "function")}

    def read_opaque(self, node: dict[str, Any], reader: Reader) -> Any:
        kind, number = node.get("$"), node.get("i")
        if kind == "it" and isinstance(node.get("v"), list):
            return iter([reader.value(item, 1) for item in node["v"]])
        if kind == "cb" and type(number) is int and 0 < number <= len(self._functions):
            return self._functions[number - 1]
        if kind not in ("h", "nm", "m") or (kind == "h" and type(number) is not int):
            raise WireError("no such kind of value")
        handle = self._handles.get(number) if kind == "h" else None
        if handle is None:
            shown = reader.text(node.get("k", "object"))
            handle = self._make_handle(self, {"$": kind, "i": number, "k": shown})
            if kind == "h":
                self._handles[number] = handle
        return handle


def lost(what: str) -> StudentFailure:
    return failure("crashed", f"{what} was lost: the Python process that held it had to be restarted")
