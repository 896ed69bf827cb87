"""One submission on the trusted side: its cells, its requests under a deadline, and its restarts."""

from __future__ import annotations

import contextlib
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from . import wire, wording
from .config import SandboxConfig
from .failure import StudentFailure, failure, safe
from .outputs import clean_outputs
from .remote import Remote

if TYPE_CHECKING:
    from ..student import RemoteStudent
    from .client import Process

REQUEST_SECONDS = 10.0
MAX_RETURNED = 256 << 20  # bytes that all replies in a `limits` block may bring
MAX_EXTENSION = 3.0  # a deadline grows at most to so many times itself while others hold the processor
_SIGNALS = {
    signal.SIGSEGV: "a segmentation fault",
    signal.SIGABRT: "an abort",
    signal.SIGBUS: "a bus error",
    signal.SIGFPE: "an arithmetic error",
    signal.SIGILL: "an illegal instruction",
    signal.SIGKILL: "being killed by the system, as happens with too much memory or processor time",
    signal.SIGXCPU: "too much processor time",
}


@dataclass
class CellResult:
    """What running one cell led to.

    Args:
        status: "ok", "error", "timeout", "crashed" or "memory".
        ename, evalue: the exception that ended the cell, or "".
        outputs: nbformat output dictionaries, bounded.
        seconds: time it took.
    """

    status: str
    ename: str = ""
    evalue: str = ""
    outputs: list[dict[str, Any]] = field(default_factory=list)
    seconds: float = 0.0


class _Deadline(wire.Deadline):
    """At its end: waits on if the process was kept from running, then interrupts it, then gives up."""

    def __init__(self, seconds: float, process: Process, grace: float, waited: float):
        super().__init__(seconds)
        self._seconds, self._process, self._grace = seconds, process, grace
        self.waited, self.extended = waited, 0.0

    def expire(self) -> float:
        if self.expired:
            return 0.0
        waited = self._process.waited_for_processor()
        more = min(waited - self.waited, MAX_EXTENSION * self._seconds - self.extended)
        self.waited = waited
        if more > 0.05:
            self.extended += more
            return more
        self.expired = True
        self._process.signal(signal.SIGINT)
        return self._grace


@dataclass
class _Limits:
    """The budget that all requests in a `limits` block share. What the test itself computes does not use it up."""

    seconds: float
    forbid: tuple[str, ...]
    seed: int | None
    left: float
    room: int = MAX_RETURNED  # bytes that replies may still bring
    process: Process | None = None
    waited: float = (
        0.0  # what the process had waited for a processor when the block began, or a deadline grew by it
    )

    def waited_of(self, process: Process) -> float:
        if self.process is not process:  # the first, or one that was started since
            self.process, self.waited = process, process.waited_for_processor()
        return self.waited


class Worker:
    """One submission. Its process is started when first needed, and again, with the cells replayed, when it dies."""

    def __init__(self, config: SandboxConfig, spawn: Callable[[], Process]):
        self._config, self._spawn = config, spawn
        self._process: Process | None = None
        self._remote: Remote | None = None
        self._cells: list[tuple[str, float, bool]] = []
        self._limits: _Limits | None = None
        self._requests = self._starts = self._open_requests = 0
        self._closed = False
        self.on_call: Callable[[str, Any], None] | None = None

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def restarts(self) -> int:
        """How often the process had to be started again."""
        return max(0, self._starts - 1)

    @property
    def student(self) -> RemoteStudent:
        """The submission's names, as a module would offer them."""
        from ..student import RemoteStudent

        return RemoteStudent(self)

    def close(self) -> None:
        """End the process."""
        self._closed = True
        self._drop_process()

    # Cells

    def run_cell(self, source: str, seconds: float = 20.0, to_the_end: bool = False) -> CellResult:
        """Run a cell as the notebook would, or also what stands below a line that fails (see `NotebookShell.run`).

        Never raises for what the cell does.
        """
        started = time.monotonic()
        result = self._run_cell(source, seconds, to_the_end)
        result.seconds = time.monotonic() - started
        if result.status in ("ok", "error"):
            self._cells.append((source, seconds, to_the_end))
        return result

    def _run_cell(self, source: str, seconds: float, to_the_end: bool) -> CellResult:
        message = {"op": "cell", "source": source, "to_the_end": to_the_end}
        try:
            reply, _, expired = self._converse(message, [], seconds, "the cell")
        except StudentFailure as problem:
            status = problem.kind if problem.kind in ("timeout", "memory") else "crashed"
            return CellResult(status, _CELL_ERRORS[status], problem.message, [])
        outputs = clean_outputs(reply.get("outputs"))
        if expired:
            message = f"the cell did not finish within {seconds:g} seconds"
            return CellResult("timeout", _CELL_ERRORS["timeout"], message, outputs)
        if reply.get("ok") is True:
            return CellResult("ok", outputs=outputs)
        status = "memory" if reply.get("memory") is True else "error"
        return CellResult(
            status, safe(_text(reply.get("ename")), 100), safe(_text(reply.get("evalue"))), outputs
        )

    # Requests

    @contextlib.contextmanager
    def limits(
        self, seconds: float = REQUEST_SECONDS, forbid: tuple[str, ...] = (), seed: int | None = None
    ) -> Iterator[_Limits]:
        """One time budget for all requests in the block; advisory bans on torch's functions and classes by name.

        With a seed, the worker's random generators start from it at the block's first request. Yields the budget, whose
        `left` says what remains of it.
        """
        outer = self._limits
        self._limits = _Limits(seconds, tuple(forbid), seed, left=seconds)
        try:
            yield self._limits
        finally:
            self._limits = outer

    @property
    def remote(self) -> Remote:
        """The present process. Starts one if there is none."""
        self._ensure_process()
        assert self._remote is not None
        return self._remote

    def do(
        self, operation: str, *args: Any, name: str = "", remote: Remote | None = None, **kwargs: Any
    ) -> Any:
        """Run an operation in the worker (see `operations.OPERATIONS`). Raises StudentFailure."""
        remote = remote or self.remote
        options: dict[str, Any] = {"seed": None}
        if self._limits is not None:
            options = {"seed": self._limits.seed, "forbid": list(self._limits.forbid)}
            self._limits.seed = None
        try:
            result = remote.do(operation, *args, name=name, options=options, **kwargs)
            if operation in ("call", "method"):
                self.record(name, result, remote)
            return result
        except StudentFailure as problem:
            if operation in ("call", "method"):
                self.record(name, problem)
            raise

    def record(self, name: str, result: Any, remote: Remote | None = None) -> None:
        """Tell the hook of a call's result or failure, and of the test's tensors that it changed."""
        if self.on_call is None:
            return
        self.on_call(name, result)
        changed = () if remote is None else remote.changed_own()
        if changed:
            self.on_call(f"{name} changed", changed)

    def names(self) -> list[str]:
        """The names that the notebook defines."""
        reply, _, _ = self._converse({"op": "names"}, [], REQUEST_SECONDS, "the notebook")
        names = reply.get("value")
        return [name for name in names if isinstance(name, str)] if isinstance(names, list) else []

    def _ask(
        self, message: dict[str, Any], buffers: list[bytes], name: str
    ) -> tuple[dict[str, Any], list[bytearray]]:
        limits = self._limits
        allowed = REQUEST_SECONDS if limits is None else limits.seconds
        seconds = allowed if limits is None else limits.left
        if seconds <= 0:
            raise failure("timeout", f"{name} did not finish within {allowed:g} seconds")
        reply, parts, expired = self._converse(message, buffers, seconds, name, allowed)
        if expired:
            raise failure("timeout", f"{name} did not finish within {allowed:g} seconds")
        if limits is not None:
            limits.room -= sum(map(len, parts))
            if limits.room < 0:
                raise failure("memory", f"{name} returned too much data", ("MemoryError",))
        if "error" in reply:
            error = reply["error"] if isinstance(reply["error"], dict) else {}
            own = self._remote.raised(error.get("callback")) if self._remote is not None else None
            raise own if own is not None else self._student_error(error, name)
        return reply, parts

    def _converse(
        self,
        message: dict[str, Any],
        buffers: list[bytes],
        seconds: float,
        name: str,
        allowed: float | None = None,
    ) -> tuple[dict[str, Any], list[bytearray], bool]:
        """Send a request, wait for its reply. Whatever happens, the process is afterwards in step or gone."""
        late = f"{name} did not finish within {seconds if allowed is None else allowed:g} seconds"
        process = self._ensure_process()
        self._requests += 1
        limits = self._limits
        waited = process.waited_for_processor() if limits is None else limits.waited_of(process)
        deadline = _Deadline(seconds, process, self._config.interrupt_grace, waited)
        started = time.monotonic()
        self._open_requests += 1
        try:
            number = self._requests
            wire.send(process.connection, wire.pack(message | {"id": number}, buffers), deadline)
            reply, parts = wire.receive(process.connection, deadline, wire.WORKER_CAPS)
            while "op" in reply and self._remote is not None:
                answer, answered = self._remote.serve(reply, parts)
                if self._process is not process:
                    raise wire.Closed("the process ended meanwhile")
                wire.send(
                    process.connection, wire.pack(answer | {"reply": reply.get("id")}, answered), deadline
                )
                reply, parts = wire.receive(process.connection, deadline, wire.WORKER_CAPS)
            if reply.get("reply") != number:
                raise wire.WireError("an answer out of step")
            return reply, parts, deadline.expired
        except TimeoutError:
            self._drop_process()
            raise failure("timeout", late) from None
        except wire.Closed:
            status = process.ended_with()
            self._drop_process()
            if deadline.expired:
                raise failure("timeout", late) from None
            raise failure("crashed", f"{name} {_how_it_ended(status)}") from None
        except wire.WireError as error:
            self._drop_process()
            raise failure("unreadable", f"{name}: {wording.unreadable(str(error))}") from None
        except BaseException:
            self._drop_process()
            raise
        finally:
            self._open_requests -= 1
            if limits is not None:
                limits.waited = max(limits.waited, deadline.waited)
                if not self._open_requests:  # one within another is in the outer's time
                    limits.left -= time.monotonic() - started - deadline.extended

    def _student_error(self, error: dict[str, Any], name: str) -> StudentFailure:
        kind, message = safe(_text(error.get("type")), 100), safe(_text(error.get("message")))
        bases = error.get("bases")
        bases = tuple(base for base in bases if isinstance(base, str)) if isinstance(bases, list) else ()
        if error.get("missing") is True:
            asked = name.partition(".")[0]
            return failure("missing", f"{asked} is not defined in the notebook", ("AttributeError",))
        if error.get("lost") is True:
            return failure("crashed", f"{name} was lost when its Python process had to be restarted")
        if error.get("memory") is True:
            return failure("memory", f"{name} needed too much memory", ("MemoryError",))
        if error.get("wire") is True:
            return failure("unreadable", f"{name}: {wording.unreadable(message)}")
        if error.get("forbidden") is True:
            forbid = self._limits.forbid if self._limits is not None else ()
            return failure("forbidden", wording.forbidden(message, forbid), ())
        return failure(
            "raised", f"{name} raised {kind}: {message}" if message else f"{name} raised {kind}", bases
        )

    # The process

    def _ensure_process(self) -> Process:
        if self._closed:
            raise RuntimeError("the worker is closed")
        while self._process is None:
            self._process = self._spawn()
            self._starts += 1
            self._remote = Remote(self._ask, self._make_handle, self._drop_process)
            self._replay()
        return self._process

    def _replay(self) -> None:
        """Run the accepted cells again. One that now ends the process is dropped, and the process started anew."""
        for index, cell in enumerate(list(self._cells)):
            self._run_cell(*cell)
            if self._process is None:
                del self._cells[index]
                return

    def _make_handle(self, remote: Remote, node: dict[str, Any]) -> Any:
        from ..student import make_remote

        return make_remote(self, remote, node)

    def _drop_process(self) -> None:
        if self._remote is not None:
            self._remote.alive = False
        if self._process is not None:
            self._process.kill()
        self._process = self._remote = None


_CELL_ERRORS = {"timeout": "CellTimeoutError", "crashed": "DeadKernelError", "memory": "MemoryError"}


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _how_it_ended(status: int | None) -> str:
    if status is None:
        return "ended the Python process"
    if status < 0:
        try:
            return f"crashed the Python process: {_SIGNALS.get(-status, signal.Signals(-status).name)}"
        except ValueError:
            return "crashed the Python process"
    return "ended the Python process"  # not with which status: it may have been made of a hidden input
