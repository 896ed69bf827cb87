"""The trusted side: starts the zygote, opens workers, holds them to deadlines, and never believes a byte they send."""

from __future__ import annotations

import contextlib
import json
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import linux, wire
from .config import SandboxConfig, environment
from .failure import SandboxError
from .root import without
from .tiers import choose_tier

if TYPE_CHECKING:
    from .submission import Worker

START_SECONDS = 300.0  # a busy machine imports torch slowly
SPAWN_SECONDS = 20.0
# A fork copies the page tables: with Python's memory in huge pages it takes half the time (25 to 30 ms of processor
# time for a worker became 13 to 15 on a busy machine).
FORK_CHEAPLY = {"GLIBC_TUNABLES": "glibc.malloc.hugetlb=1", "PYTHONMALLOC": "malloc"}
_KIND = socket.SOCK_SEQPACKET if linux.LINUX else socket.SOCK_DGRAM
_BOOT = """
import sys, types
package = types.ModuleType("_sandbox")
package.__path__ = [{directory!r}]
sys.modules["_sandbox"] = package
from _sandbox import zygote
zygote.main({descriptor})
"""


class Sandbox:
    """One zygote; opens a worker per submission. Safe to use from several threads.

    `tier` is the isolation in force, `report` what the zygote said of itself. If the zygote dies, the next worker
    starts a new one. A zygote that was offered to this process (`use_offered`) and fits is joined, not started.
    """

    def __init__(self, config: SandboxConfig | None = None):
        self.config = config or SandboxConfig()
        self.tier = choose_tier(self.config)
        self.report: dict[str, Any] = {}
        self.starts = 0
        self._lock = threading.Lock()
        self._zygote: Zygote | None = None
        self._directory: tempfile.TemporaryDirectory | None = None

    def __enter__(self) -> Sandbox:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def start(self) -> None:
        """Start the zygote if none is running. Takes a few seconds: it imports torch."""
        with self._lock:
            self._started()

    def _started(self) -> Zygote:
        if self._zygote is not None and not self._zygote.is_alive():
            self._zygote.close()
            self._zygote = None
        if self._zygote is None:
            if self.tier != "namespaces" and self._directory is None:
                self._directory = tempfile.TemporaryDirectory(prefix="sandbox-", ignore_cleanup_errors=True)
                os.chmod(self._directory.name, 0o711)
            config, directory = self.config.for_zygote(self.tier), self._directory and self._directory.name
            offered = _offered is not None and _offered.fits(config) and self.starts == 0
            self._zygote = _offered.join(directory) if offered else Zygote(config, directory)
            self.starts += 1
        self.report = self._zygote.wait_until_ready()
        return self._zygote

    def open(self) -> Worker:
        """A worker for one submission; its process starts with the first request."""
        # It imports torch, which whoever only starts a zygote need not wait for.
        from .submission import Worker

        return Worker(self.config, self.spawn)

    def spawn(self) -> Process:
        """A fresh, isolated process."""
        with self._lock:
            for attempt in (0, 1):
                zygote = self._started()
                try:
                    return zygote.spawn(self.config)
                except (OSError, wire.WireError) as error:
                    zygote.close()
                    self._zygote = None
                    if attempt:
                        raise SandboxError(f"the sandbox could not start a process: {error}") from error
        raise AssertionError

    def close(self) -> None:
        with self._lock:
            if self._zygote is not None:
                self._zygote.close()
                self._zygote = None
            if self._directory is not None:
                self._directory.cleanup()
                self._directory = None


class Zygote:
    """The zygote's process and a control socket to it. It starts in the background; see `wait_until_ready`."""

    def __init__(self, config: dict[str, Any], directory: str | None):
        self._set_up(config, directory)
        self._control, theirs = socket.socketpair(socket.AF_UNIX, _KIND)
        surroundings = environment("/scratch") | FORK_CHEAPLY
        if directory is not None:
            surroundings = environment(self._make_work("zygote")) | {"TMPDIR": self._work} | FORK_CHEAPLY
            config = config | {"environment": surroundings}
        boot = _BOOT.format(directory=str(Path(__file__).parent), descriptor=theirs.fileno())
        self._process = subprocess.Popen(
            [sys.executable, "-S", "-P", "-B", "-"],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            env=surroundings,
            cwd="/",
            pass_fds=[theirs.fileno()],
            close_fds=True,
        )
        theirs.close()
        try:
            self._process.stdin.write(boot.encode())
            self._process.stdin.close()
            self._send_config(json.dumps(config).encode())
        except OSError as error:
            self.close()
            raise SandboxError(f"the sandbox did not start: {error}") from error

    def _set_up(self, config: dict[str, Any], directory: str | None) -> None:
        self._config, self._directory, self._count = config, directory, 0
        self.report: dict[str, Any] = {}
        self._process: subprocess.Popen | None = None
        self._readable = without(config["bind"], config["hide"]) if config["tier"] == "landlock" else ([], [])

    def wait_until_ready(self) -> dict[str, Any]:
        """What the zygote reports of itself once it has imported everything. Raises SandboxError if it cannot."""
        if not self.report:
            try:
                self.report = self._receive(START_SECONDS)
            except (OSError, ValueError) as error:
                self.close()
                raise SandboxError(f"the sandbox did not start: {error}") from error
            if "fatal" in self.report:
                self.close()
                raise SandboxError(f"the sandbox did not start: {self.report['fatal']}")
        return self.report

    def offer(self) -> Offer:
        """What another process needs to join this zygote. Pass it on while a process is being started."""
        return Offer(self._control, self._config)

    @classmethod
    def joined(cls, door: socket.socket, config: dict[str, Any], directory: str | None) -> Zygote:
        """A further control socket to a running zygote. Raises OSError when that has ended."""
        zygote = cls.__new__(cls)
        zygote._set_up(config, directory)
        zygote._control, theirs = socket.socketpair(socket.AF_UNIX, _KIND)
        with theirs:
            socket.send_fds(door, [b'{"join": true}'], [theirs.fileno()])
        return zygote

    def _make_work(self, name: str) -> str:
        """A directory for a process of a tier that cannot mount one; its owner is who will use it."""
        self._work = f"{self._directory}/{name}"
        os.makedirs(self._work, mode=0o700, exist_ok=True)
        if os.getuid() == 0:
            owner = self.report.get("uid", 0)
            os.chown(self._work, owner, owner)
        return self._work

    def _send_config(self, encoded: bytes) -> None:
        self._control.send(str(len(encoded)).encode())
        for start in range(0, len(encoded), 1 << 15):
            self._control.send(encoded[start : start + (1 << 15)])

    def _receive(self, seconds: float) -> dict[str, Any]:
        if not select.select([self._control], [], [], seconds)[0]:
            raise OSError("no answer")
        message = self._control.recv(1 << 20)
        if not message:
            raise OSError("it ended at once; its error is on standard error")
        return json.loads(message)

    def is_alive(self) -> bool:
        if self._process is not None:
            return self._process.poll() is None
        poll = select.poll()
        poll.register(self._control, 0)  # a hang-up is reported always
        return not poll.poll(0)

    def spawn(self, config: SandboxConfig) -> Process:
        """Fork a worker. Raises OSError or WireError when it does not come up."""
        self.wait_until_ready()
        self._count += 1
        request: dict[str, Any] = {
            "rlimits": config.resource_limits(
                self.report.get("address_space", 0), self.report.get("tasks", 0)
            )
        }
        work = None
        if self._directory is not None:
            work = request["work"] = self._make_work(f"{os.getpid()}-{self._count}")
            request["readable"], request["listed"] = self._readable
        ours, theirs = socket.socketpair()
        monitor, their_monitor = socket.socketpair(socket.AF_UNIX, _KIND)
        with theirs, their_monitor:
            descriptors = [theirs.fileno(), their_monitor.fileno()]
            socket.send_fds(self._control, [json.dumps(request).encode()], descriptors)
        return Process(ours, monitor, work)

    def close(self) -> None:
        """End the zygote and, in the namespaces tier, with it every worker. One that was joined goes on."""
        self._control.close()
        if self._process is None:
            return
        if not self.report:
            self._process.kill()  # still importing: it would not notice for seconds
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(2)
            return
        self._process.kill()
        self._process.wait(10)


class Offer:
    """A zygote that several processes use; travels to a process of `multiprocessing` while that is being started."""

    def __init__(self, door: socket.socket, config: dict[str, Any]):
        self._door, self._config = door, config

    def fits(self, config: dict[str, Any]) -> bool:
        return config == self._config

    def join(self, directory: str | None) -> Zygote:
        return Zygote.joined(self._door, self._config, directory)


_offered: Offer | None = None


def use_offered(offer: Offer | None) -> None:
    """Let this process's sandboxes join the offered zygote where they would start one of the same configuration."""
    global _offered
    _offered = offer


class Process:
    """One worker process: its connection, and a descriptor through which it can be signalled."""

    def __init__(self, connection: socket.socket, monitor: socket.socket, work: str | None):
        self.connection, self._monitor, self._work = connection, monitor, work
        self._descriptor: int | None = None
        self._pid: int | None = None
        self._clock: int | None = None
        self.status: int | None = None
        self.alive = True
        try:
            self._meet()
        except BaseException:
            self.kill()
            raise

    def _meet(self) -> None:
        self._monitor.settimeout(SPAWN_SECONDS)
        message, descriptors, _, _ = socket.recv_fds(self._monitor, 1 << 12, 1)
        self._descriptor = descriptors[0] if descriptors else None
        note = json.loads(message or b'{"fatal": "the zygote ended"}')
        if "fatal" in note:
            raise OSError(note["fatal"])
        self._pid = note["pid"]
        self._clock = self._open_clock()
        self.hello, _ = wire.receive(self.connection, wire.Deadline(SPAWN_SECONDS))
        if not self.hello.get("ready"):
            raise OSError(str(self.hello.get("fatal"))[:500])

    def signal(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            if self._descriptor is not None:
                signal.pidfd_send_signal(self._descriptor, number)
            elif self._pid is not None and not hasattr(os, "pidfd_open"):
                os.kill(self._pid, number)

    def _open_clock(self) -> int | None:
        """The kernel's account of the process's time, opened while its number is known to be its own."""
        with contextlib.suppress(OSError, StopIteration, ValueError):
            with open(f"/proc/self/fdinfo/{self._descriptor}") as stream:
                pid = next(int(line.split()[1]) for line in stream if line.startswith("Pid:"))
            return os.open(f"/proc/{pid}/schedstat", os.O_RDONLY | os.O_CLOEXEC)
        return None

    def waited_for_processor(self) -> float:
        """Seconds that the process was ready to run but another had the processor; 0 where it cannot be told."""
        if self._clock is None:
            return 0.0
        try:
            return int(os.pread(self._clock, 100, 0).split()[1]) / 1e9
        except (OSError, ValueError, IndexError):
            return 0.0

    def kill(self) -> None:
        """End the process. Its memory goes back a little later; where it has a directory, this waits to remove it."""
        if not self.alive:
            return
        self.alive = False
        self.connection.close()
        self.signal(signal.SIGKILL)
        if self._work is not None:
            self._await_end(5.0)
        for descriptor in (self._descriptor, self._clock):
            if descriptor is not None:
                os.close(descriptor)
        self._descriptor = self._clock = None
        self._monitor.close()
        if self._work is not None:
            _remove_tree(self._work)

    def _await_end(self, seconds: float) -> int | None:
        self._monitor.settimeout(seconds)
        with contextlib.suppress(OSError, ValueError):
            return json.loads(self._monitor.recv(1 << 12))["ended"]
        return None

    def ended_with(self) -> int | None:
        """The exit status if the process has ended by itself, after a short wait for the news."""
        if self.alive:
            self.status = self._await_end(1.0)
        return self.status


def _remove_tree(path: str) -> None:
    """Remove a worker's directory, whatever permissions it has left behind."""

    def retry(function, name, _):
        with contextlib.suppress(OSError):
            os.chmod(os.path.dirname(name), 0o700)
            os.chmod(name, 0o700)
            function(name)

    shutil.rmtree(path, onerror=retry)
    shutil.rmtree(path, ignore_errors=True)
