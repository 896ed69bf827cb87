"""The last steps of a worker's life before student code: from a fork of the zygote to a closed process.

The order matters. Mounts need the capabilities of the worker's own user namespace, Landlock opens the paths that it
allows, and seccomp, which refuses the calls that all of these use, comes last.
"""

from __future__ import annotations

import contextlib
import os
import socket
import sys
import tempfile
from typing import Any

from . import linux, wire

SCRATCH = "/scratch"
CONNECTION = 3  # the worker's only descriptor above standard error
HIGHEST_DESCRIPTOR = 4096
#: A worker's own user, mount, process, ipc and host name namespaces.
NAMESPACES = linux.NEWUSER | linux.NEWNS | linux.NEWPID | linux.NEWIPC | linux.NEWUTS


def enter_namespaces() -> None:
    """Enter them, without clone3; the next fork is process 1 of the new process space."""
    uid, gid = os.getuid(), os.getgid()
    linux.unshare(NAMESPACES)
    linux.map_own_identity(uid, gid)


def close_in(settings: dict[str, Any]) -> dict[str, Any]:
    """Isolate the calling process for good. Returns what is in force."""
    os.setsid()  # kill(0, ...) must not reach the zygote through the process group
    tier = settings["tier"]
    if linux.LINUX:
        linux.die_with_parent()
        _be_first_to_go()
    work = _private_directories(settings)
    in_force: dict[str, Any] = {"landlock": 0, "seccomp": False, "work": work}
    if tier == "namespaces":
        linux.drop_capabilities()
    linux.set_resource_limits(settings["rlimits"])
    if tier != "none":
        read, listed = (["/"], []) if tier == "namespaces" else (settings["readable"], settings["listed"])
        write = [SCRATCH, "/dev/shm", "/dev/null"] if tier == "namespaces" else [work, "/dev/null"]
        in_force["landlock"] = linux.restrict_files(read, write, listed)
        linux.restrict_system_calls()
        in_force["seccomp"] = True
    sys.argv = [""]
    return in_force


def _be_first_to_go() -> None:
    """When the machine runs out of memory, the kernel is to choose a worker, not the grader."""
    with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w") as stream:
        stream.write("1000")


def _private_directories(settings: dict[str, Any]) -> str:
    """A fresh working directory that nobody else sees and that is gone afterwards."""
    if settings["tier"] == "namespaces":
        flags = linux.NOSUID | linux.NODEV
        size = settings["scratch_bytes"]
        linux.mount("tmpfs", SCRATCH, "tmpfs", flags, f"size={size},nr_inodes=4096,mode=700")
        linux.mount("tmpfs", "/dev/shm", "tmpfs", flags, f"size={size},nr_inodes=256,mode=700")
        if settings["own_proc"]:
            linux.mount("proc", "/proc", "proc", flags | linux.NOEXEC)
        else:  # a container that masks /proc: an empty one is better than the container's
            linux.mount("tmpfs", "/proc", "tmpfs", flags | linux.NOEXEC, "size=4k,mode=555")
        work = f"{SCRATCH}/work"
        os.mkdir(work)
    else:
        work = settings["work"]
        os.makedirs(work, mode=0o700, exist_ok=True)
        os.environ["HOME"] = os.environ["TMPDIR"] = work
        tempfile.tempdir = None
    os.chdir(work)
    sys.path.append("")  # a module that the notebook wrote itself; last, so that it stands in for no other
    return work


def _keep_only(connection: socket.socket) -> socket.socket:
    """Standard streams on /dev/null, the connection at a fixed number, every other descriptor closed."""
    null = os.open(os.devnull, os.O_RDWR)
    for number in (0, 1, 2):
        os.dup2(null, number)
    original = connection.detach()
    if original != CONNECTION:
        os.dup2(original, CONNECTION)
    os.closerange(CONNECTION + 1, HIGHEST_DESCRIPTOR)
    return socket.socket(fileno=CONNECTION)


def run(
    connection: socket.socket,
    settings: dict[str, Any],
    shell: Any,
    identity: tuple[int, int] | None = None,
) -> None:
    """Close the process in, say so, and serve. Never returns.

    `identity` are the user and group of a process that started in a user namespace of its own, which has none yet.
    """
    try:
        connection = _keep_only(connection)
        if identity is not None:
            linux.map_own_identity(*identity)
        in_force = close_in(settings)
        wire.send(connection, wire.pack({"ready": True, **in_force}))
        if shell is not None:
            from .service import Service

            Service(connection, shell).serve()
    except wire.Closed:
        os._exit(0)
    except BaseException as error:
        with_detail = f"{type(error).__name__}: {error}"[:500]
        with contextlib.suppress(OSError, TypeError, wire.WireError):
            wire.send(connection, wire.pack({"fatal": with_detail}))
    finally:
        os._exit(1)
