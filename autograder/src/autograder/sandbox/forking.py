"""How a worker comes to be, and how its end becomes known: the zygote's side of both.

The trusted side gives every worker two sockets: a connection, and a monitor that brings a descriptor of the process
and, later, how it ended. When the monitor is hung up, the worker is ended.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import socket
from collections.abc import Iterable
from typing import Any

from . import linux, worker

# In one step: the worker is the zygote's own child


def is_possible_in_one_step() -> bool:
    """Whether clone3 makes a process in new namespaces: some containers allow unshare alone."""
    try:
        child = linux.fork_into(worker.NAMESPACES)
    except OSError:
        return False
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)
    return True


class Watched:
    """The running workers that are this process's own children: how each ends is told to its trusted side.

    A trusted side that goes first, killed, takes its worker with it.
    """

    def __init__(self, poll: select.poll):
        self._poll = poll
        self._by_process: dict[int, tuple[int, socket.socket]] = {}  # descriptor -> process, monitor
        self._by_monitor: dict[int, int] = {}  # descriptor of the monitor -> of the process

    def add(self, child: int, monitor: socket.socket) -> None:
        """Hand the trusted side a descriptor for the worker, and begin to watch both.

        A descriptor, because a process number can be another process by tomorrow.
        """
        try:
            descriptor = os.pidfd_open(child)
        except OSError as error:  # too many descriptors
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            _give_up(monitor, error)
            return
        with contextlib.suppress(OSError):  # it has gone: the hang-up comes next
            socket.send_fds(monitor, [json.dumps({"pid": child}).encode()], [descriptor])
        self._by_process[descriptor] = child, monitor
        self._by_monitor[monitor.fileno()] = descriptor
        self._poll.register(descriptor, select.POLLIN)
        self._poll.register(monitor, 0)  # a hang-up is reported always

    def __len__(self) -> int:
        return len(self._by_process)

    def attend(self, number: int) -> bool:
        """Whether a descriptor on which something happened belonged to a worker, which is then seen to."""
        if number in self._by_monitor:  # the trusted side went first, killed; or it has ended the worker
            descriptor = self._by_monitor.pop(number)
            self._poll.unregister(number)
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(descriptor, signal.SIGKILL)
            return True
        if number not in self._by_process:
            return False
        child, monitor = self._by_process.pop(number)
        self._poll.unregister(number)
        if self._by_monitor.pop(monitor.fileno(), None) is not None:
            self._poll.unregister(monitor)
        _await_end(child, monitor)
        monitor.close()
        os.close(number)
        return True


def fork_in_one_step(
    watched: Watched,
    connection: socket.socket,
    monitor: socket.socket,
    settings: dict[str, Any],
    shell: Any,
) -> None:
    """A worker that is in its namespaces from the first: a fork less, a twentieth of a short submission's time."""
    uid, gid = os.getuid(), os.getgid()
    try:
        child = linux.fork_into(worker.NAMESPACES)
    except OSError as error:
        connection.close()
        _give_up(monitor, error)
        return
    if child == 0:
        worker.run(connection, settings, shell, identity=(uid, gid))
    connection.close()
    watched.add(child, monitor)


def _await_end(child: int, monitor: socket.socket) -> None:
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    _tell(monitor, {"ended": status})


def _give_up(monitor: socket.socket, error: BaseException) -> None:
    _tell(monitor, {"fatal": f"{type(error).__name__}: {error}"[:500]})
    monitor.close()


def _tell(monitor: socket.socket, note: dict[str, Any]) -> None:
    with contextlib.suppress(OSError):  # the trusted side may have gone
        monitor.send(json.dumps(note).encode())


# In two steps: a process between the zygote and the worker waits for the worker's end


def fork_in_two_steps(
    controls: Iterable[socket.socket],
    connection: socket.socket,
    monitor: socket.socket,
    settings: dict[str, Any],
    shell: Any,
) -> None:
    """A worker where there are no namespaces, or clone3 is not allowed. `controls` are the zygote's own."""
    if os.fork() == 0:
        for control in controls:
            control.close()
        _start_worker(connection, monitor, settings, shell)
    connection.close()
    monitor.close()


def _start_worker(
    connection: socket.socket, monitor: socket.socket, settings: dict[str, Any], shell: Any
) -> None:
    """In the child: fork once more, into the new namespaces, then stay to report how the worker ended."""
    try:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        if linux.LINUX:
            linux.die_with_parent()
        if settings["tier"] == "namespaces":
            worker.enter_namespaces()
        child = os.fork()
        if child == 0:
            monitor.close()
            worker.run(connection, settings, shell)
        connection.close()
        if hasattr(os, "pidfd_open"):
            _watch(child, monitor)
        else:
            _tell(monitor, {"pid": child})
            _await_end(child, monitor)
    except BaseException as error:
        _give_up(monitor, error)
    finally:
        os._exit(0)


def _watch(child: int, monitor: socket.socket) -> None:
    """Watch one worker until it has ended."""
    poll = select.poll()
    watched = Watched(poll)
    watched.add(child, monitor)
    while watched:
        watched.attend(poll.poll()[0][0])
