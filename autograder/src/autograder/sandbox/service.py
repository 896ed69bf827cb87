"""The worker's side of the conversation: runs cells and operations on the student's objects, answers with data."""

from __future__ import annotations

import builtins
import inspect
import signal
import socket
import types
import warnings
from typing import Any

import torch

from . import torchstate, wire
from .containers import picture
from .modules import read_module
from .operations import OPERATIONS, Listed, is_method_of, kind_of
from .peer import Peer
from .reader import Reader
from .shell import NotebookShell, safe_text
from .values import Writer
from .wire import WireError

MAX_HANDLES = 100_000


class Missing(Exception):
    """The notebook does not define the name."""


class Lost(Exception):
    """The object does not exist in this process."""


class CallbackFailed(Exception):
    """A function of the test's, called by student code, raised; `number` says which exception that was."""

    number = 0


class Service(Peer):
    """One submission's process."""

    def __init__(self, connection: socket.socket, shell: NotebookShell):
        super().__init__(first_id=1, strong=True)
        self._connection, self._shell = connection, shell
        self._objects: dict[int, Any] = {}
        self._numbers: dict[int, int] = {}
        self._callbacks: dict[int, int] = {}  # id(function) -> the trusted side's number
        self._count = self._requests = 0
        self._cells = torchstate.CellState()
        self._touched_objects = self._shows_live = False
        self._running = self._interrupted = False
        self._bans: tuple[str, ...] = ()

    # The conversation

    def serve(self) -> None:
        """Answer requests until the trusted side hangs up."""
        signal.signal(signal.SIGINT, self._interrupt)
        while True:
            message, buffers = wire.receive(self._connection)
            self._interrupted = False
            self._answer(message, buffers)

    def _interrupt(self, number: int, frame: types.FrameType | None) -> None:
        self._interrupted = True
        if self._running:  # never in the middle of a frame
            raise KeyboardInterrupt

    def _answer(self, message: dict[str, Any], buffers: list[bytearray]) -> None:
        outer, number = self._running, message.get("id")
        try:
            try:
                self._running = True
                reply, parts = self._perform(message, buffers)
            finally:
                self._running = False
        except BaseException as error:
            self._running = False
            reply, parts = self._failure(error), []
        if message.get("op") != "cell":
            self._shell.outputs.clear()
        reply["reply"] = number
        try:
            frame = wire.pack(reply, parts, wire.WORKER_CAPS)
        except WireError as error:
            frame = wire.pack({"reply": number, **self._failure(error)})
        wire.send(self._connection, frame)
        self._running = outer

    def _perform(
        self, message: dict[str, Any], buffers: list[bytearray]
    ) -> tuple[dict[str, Any], list[bytes]]:
        match message.get("op"):
            case "cell":
                return self._run_cell(message), []
            case "do":
                return self._operate(message, buffers)
            case "vjp":
                return self._differentiate(message, buffers)
            case "names":
                return {"value": self._names()}, []
        raise WireError("no such request")

    def _run_cell(self, message: dict[str, Any]) -> dict[str, Any]:
        self._shell.outputs.clear()
        self._cells.enter()
        error: BaseException | None
        try:
            error = self._shell.run(message["source"], message.get("to_the_end") is True)
        except KeyboardInterrupt as interrupt:
            error = interrupt
        return {
            "ok": error is None,
            "ename": "" if error is None else str(type(error).__name__)[:200],
            "evalue": "" if error is None else safe_text(error),
            "memory": _is_memory(error),
            "outputs": self._shell.outputs.take(),
        }

    def _names(self) -> list[str]:
        hidden = self._shell.user_ns_hidden
        return [name for name in self._shell.user_ns if name.isidentifier() and name not in hidden][:10_000]

    def send_request(
        self, message: dict[str, Any], buffers: list[bytes], name: str
    ) -> tuple[dict, list[bytearray]]:
        """Ask the trusted side, serving what it asks meanwhile."""
        self._requests += 1
        message["id"] = self._requests
        outer, self._running = self._running, False
        try:
            wire.send(self._connection, wire.pack(message, buffers, wire.WORKER_CAPS))
            while True:
                reply, parts = wire.receive(self._connection)
                if "op" not in reply:
                    break
                self._answer(reply, parts)
        finally:
            self._running = outer
        if self._interrupted:
            raise KeyboardInterrupt
        if "error" in reply:
            raise _callback_failure(reply["error"])
        return reply, parts

    # Operations on the student's objects

    def _operate(
        self, message: dict[str, Any], buffers: list[bytearray]
    ) -> tuple[dict[str, Any], list[bytes]]:
        nested, outer = self.tensors.depth > 0, (self._touched_objects, self._shows_live)
        self.tensors.begin_call()
        self._touched_objects = False
        keep = False  # what failed keeps nothing
        try:
            reader = Reader(self, buffers)
            args = [reader.value(node) for node in message["args"]]
            kwargs = {name: reader.value(node) for name, node in message.get("kwargs", {}).items()}
            self._release_objects(message)
            self.take_news(message, reader)
            before = [picture(value) for value in reader.mutable]
            if not nested:
                self._prepare(message)
            result = self._run(message, args, kwargs)
            self._shows_live = self._touched_objects or message["fn"] == "lookup"
            reply, parts = self.answer_with(result, reader.mutable, before, stops=[])
            keep = reply["keep"]
            return reply, parts
        finally:
            self.tensors.end_call(keep=keep)
            self._touched_objects, self._shows_live = self._touched_objects or outer[0], outer[1]

    def _release_objects(self, message: dict[str, Any]) -> None:
        for number in message.get("release_objects", ()):
            value = self._objects.pop(number, None)
            self._numbers.pop(id(value), None)

    def _prepare(self, message: dict[str, Any]) -> None:
        self._cells.leave()
        torchstate.reset()
        if message.get("seed") is not None:
            torchstate.seed(message["seed"])
        if not message.get("grad", True):
            torch.set_grad_enabled(False)
        self._bans = tuple(message.get("forbid", ()))

    def _run(self, message: dict[str, Any], args: list[Any], kwargs: dict[str, Any]) -> Any:
        operation = message["fn"]
        if operation == "lookup":
            value = self._named(args[0])
            named = inspect.isclass(value) or inspect.isroutine(value)
            return _Named(args[0], "class" if inspect.isclass(value) else "function") if named else value
        with torchstate.banned(self._bans):
            result = OPERATIONS[operation](*args, **kwargs)
        if operation == "getattr" and is_method_of(result, args[0]):
            return _Named(args[1], "method")
        return result

    def _named(self, name: str) -> Any:
        try:
            return self._shell.user_ns[name]
        except KeyError:
            raise Missing(name) from None

    def write_result(self, result: Any, writer: Writer) -> Any:
        if isinstance(result, Listed):
            return {"$": "it", "v": [writer.node(item) for item in result.items]}
        if isinstance(result, _Named):
            return {"$": "m" if result.kind == "method" else "nm", "v": result.name, "k": result.kind}
        return writer.node(result)

    def keeps(self) -> bool:
        return self._touched_objects

    def live_number(self, container: Any) -> int | None:
        return self.containers.new_number() if self._shows_live else None

    def _differentiate(
        self, message: dict[str, Any], buffers: list[bytearray]
    ) -> tuple[dict[str, Any], list[bytes]]:
        self._cells.leave()
        self.tensors.begin_call()
        try:
            reader = Reader(self, buffers)
            gradients = [reader.value(node) for node in message["gradients"]]
            self.take_news(message, reader)
            with warnings.catch_warnings(), torch.enable_grad():
                warnings.simplefilter("ignore")
                result = self.graphs.differentiate(
                    message["graph"], gradients, message.get("create_graph") is True
                )
            return self.answer_with(result, [], [], stops=[], keep=False)
        finally:
            self.tensors.end_call(keep=False)

    def _failure(self, error: BaseException) -> dict[str, Any]:
        if isinstance(error, KeyboardInterrupt):
            return {"error": {"type": "KeyboardInterrupt", "bases": [], "message": ""}}
        kind = type(error)
        bases = [
            base.__name__ for base in type.mro(kind) if base is getattr(builtins, str(base.__name__), None)
        ]
        return {
            "error": {
                "type": str(kind.__name__)[:100],
                "bases": bases,
                "message": safe_text(error),
                "memory": _is_memory(error),
                "wire": isinstance(error, WireError),
                "missing": isinstance(error, Missing),
                "lost": isinstance(error, Lost),
                "forbidden": isinstance(error, torchstate.ForbiddenCall),
                "callback": error.number if isinstance(error, CallbackFailed) else None,
            }
        }

    # Objects

    def write_opaque(self, value: Any, writer: Writer) -> Any:
        if id(value) in self._callbacks:
            return {"$": "cb", "i": self._callbacks[id(value)]}
        self._touched_objects = True
        number = self._numbers.get(id(value))
        if number is None:
            if len(self._objects) >= MAX_HANDLES:
                raise WireError("too many objects are held")
            self._count += 1
            number = self._count
            self._objects[number], self._numbers[id(value)] = value, number
        return {"$": "h", "i": number, "k": kind_of(value)}

    def read_opaque(self, node: dict[str, Any], reader: Reader) -> Any:
        match node.get("$"):
            case "h":
                self._touched_objects = True
                if node["i"] not in self._objects:
                    raise Lost(str(node["i"]))
                return self._objects[node["i"]]
            case "nm":
                value = self._named(node["v"])
                self._touched_objects |= inspect.isclass(value)
                return value
            case "tf":
                return torchstate.resolve(node["v"])[2]
            case "cb":
                return self._callback(node["i"], node["n"])
            case "md":
                return read_module(node, reader, torchstate.resolve)
            case "G":
                generator = torch.Generator()
                generator.set_state(reader.value(node["v"]))
                reader.mutable.append(generator)
                return generator
        raise WireError("no such kind of value")

    def _callback(self, number: int, name: str) -> Any:
        """A function that asks the trusted side."""
        known = next((self._objects[-key] for key in (number,) if -key in self._objects), None)
        if known is not None:
            return known

        def callback(*args: Any, **kwargs: Any) -> Any:
            outer, self._shows_live = self._shows_live, False
            writer = Writer(self)
            message = {
                "op": "callback",
                "fn": number,
                "args": [writer.node(arg) for arg in args],
                "kwargs": {key: writer.node(value) for key, value in kwargs.items()},
                "grad": torch.is_grad_enabled(),
            }
            try:
                return self.request(message, writer, name)
            finally:
                self._shows_live = outer

        callback.__name__ = callback.__qualname__ = name
        self._objects[-number], self._callbacks[id(callback)] = callback, number
        return callback


class _Named:
    """A function, class or method, named rather than held: functions and classes survive a restart."""

    def __init__(self, name: str, kind: str):
        self.name, self.kind = name, kind


def _callback_failure(error: Any) -> CallbackFailed:
    """What the test's function raised, as an exception that student code can catch by its standard class."""
    base = getattr(builtins, error.get("base") or "", None)
    if isinstance(base, type) and issubclass(base, Exception):
        failed = type(base.__name__, (CallbackFailed, base), {})(error.get("message", ""))
    else:
        failed = CallbackFailed(error.get("message", ""))
    failed.number = error.get("number", 0)
    return failed


def _is_memory(error: BaseException | None) -> bool:
    if isinstance(error, MemoryError):
        return True
    return isinstance(error, RuntimeError) and "can't allocate memory" in safe_text(error)
