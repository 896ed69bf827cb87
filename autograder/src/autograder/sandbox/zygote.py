"""The process that imports torch once and forks a worker for every submission. It runs no student code itself.

Started by `client` with a minimal environment and no descriptors but a control socket, on which it is told what to do.
It makes its root directory an explicit list of read-only paths, gives up root, imports what notebooks import, and then
forks. One thread only: a fork in the middle of another thread's work can leave a lock taken for ever.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import json
import os
import select
import signal
import socket
import sys
import types
from typing import Any

from . import forking, heap, linux, root

NOBODY = 65534
SHELL_WARMING = ("1 + 1", "1 / 0", "print('warm')")
TORCH_WARMING = """
import torch
layer = torch.nn.Linear(2, 2)
step = torch.optim.SGD(layer.parameters(), lr=0.1)
layer(torch.ones(1, 2)).sum().backward()
step.step()
"""
FIGURE_WARMING = "%matplotlib inline\nimport matplotlib.pyplot as plt\nplt.plot([1, 2]);"


def main(descriptor: int) -> None:
    """Read the configuration from the control socket, get ready, say so, then fork a worker for each request."""
    control = socket.socket(fileno=descriptor)
    config = _read_config(control)
    try:
        report = _prepare(control, config)
    except BaseException as error:
        control.send(json.dumps({"fatal": f"{type(error).__name__}: {error}"[:2000]}).encode())
        os._exit(1)
    control.send(json.dumps(report).encode())
    _serve(control, config, report)


def _read_config(control: socket.socket) -> dict[str, Any]:
    """The configuration: its length in one message, then as many as it takes."""
    length = int(control.recv(64))
    received = b""
    while len(received) < length:
        received += control.recv(1 << 16)
    return json.loads(received)


def _own_modules() -> dict[str, dict[str, Any]]:
    """This package's sources, read while they can be: the closed root does not hold them."""
    directory = os.path.dirname(__file__)
    sources = {}
    for name in os.listdir(directory):
        stem, extension = os.path.splitext(name)
        if extension == ".py" and stem != "__init__":
            with open(f"{directory}/{name}", encoding="utf-8") as stream:
                sources[f"{__package__}.{stem}"] = {"source": stream.read(), "package": False}
    return sources


def _prepare(control: socket.socket, config: dict[str, Any]) -> dict[str, Any]:
    gc.disable()  # among what is imported there is no garbage, and looking for it takes a sixth of the time
    os.umask(0o077)
    sys.meta_path.insert(0, _MemoryLoader(_own_modules()))
    sys.modules[__package__].__path__ = []
    own_proc = True
    if config["tier"] == "namespaces":
        own_proc = _enter_namespaces(control, config)
    elif os.getuid() == 0 and config["tier"] == "landlock":
        _give_up_root(config)
    config["own_proc"] = own_proc
    sys.path += [path for path in config["import_path"] if path not in sys.path]
    report: dict[str, Any] = {"ready": True, "tier": config["tier"], "own_proc": own_proc, "missing": []}
    if config["python"]:
        _SHELL.append(_load(config, report))
    report["threads"] = len(os.listdir("/proc/self/task")) if os.path.isdir("/proc/self/task") else 1
    if report["threads"] != 1:
        raise RuntimeError(f"the zygote must have one thread, it has {report['threads']}")
    report["address_space"] = _address_space()
    report["uid"] = os.getuid()
    report["tasks"] = 0 if config["tier"] == "namespaces" else _tasks_of_user()
    heap.fill_holes()  # there is no garbage: the shell's reset has looked for it
    gc.freeze()
    gc.enable()
    return report


_SHELL: list[Any] = []  # the shell that every worker inherits; empty where only the isolation is tried


def _enter_namespaces(control: socket.socket, config: dict[str, Any]) -> bool:
    """Continue as process 1 of new namespaces in a closed root; the calling process stays to reap it."""
    uid, gid = os.getuid(), os.getgid()
    flags = linux.NEWNS | linux.NEWPID | linux.NEWIPC | linux.NEWUTS | linux.NEWNET
    linux.unshare(flags | (linux.NEWUSER if uid else 0))
    if uid:
        linux.map_own_identity(uid, gid)
    child = os.fork()
    if child:
        control.close()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: os.kill(child, signal.SIGKILL))
        os._exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) & 0xFF)
    linux.die_with_parent()
    os.setsid()
    own_proc = root.close(config["bind"], config["hide"], uid=NOBODY if uid == 0 else uid)
    linux.set_hostname("sandbox")
    if uid == 0:
        _become(NOBODY)
    linux.die_with_parent()  # changing the user clears it
    return own_proc


def _give_up_root(config: dict[str, Any]) -> None:
    """Become nobody; where nobody cannot read this Python, stay without any of root's powers."""
    try:
        os.seteuid(NOBODY)
        for path in (os.path.dirname(os.__file__), *config["import_path"]):
            os.listdir(path)
    except PermissionError:
        os.seteuid(0)
        linux.drop_capabilities()
        return
    os.seteuid(0)
    os.chown(config["environment"]["TMPDIR"], NOBODY, NOBODY)
    _become(NOBODY)


def _tasks_of_user() -> int:
    """Threads that the user has already, in all processes: RLIMIT_NPROC counts them too."""
    count = 0
    for entry in os.scandir("/proc") if os.path.isdir("/proc/self/task") else ():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                count += (
                    len(os.listdir(f"/proc/{entry.name}/task")) if entry.stat().st_uid == os.getuid() else 0
                )
    return count


def _become(user: int) -> None:
    os.setgroups([])
    os.setresgid(user, user, user)
    os.setresuid(user, user, user)
    if linux.LINUX:
        linux.prctl(linux.PR_SET_DUMPABLE, 1)  # or /proc/self/uid_map would still belong to root


# What notebooks import


def _load(config: dict[str, Any], report: dict[str, Any]) -> Any:
    os.environ.update(config["environment"])
    os.makedirs(os.environ["HOME"], exist_ok=True)
    _install_course_modules(config["course_modules"])
    for name in config["preload"]:
        importlib.import_module(name)
    for name in config["preload_if_present"]:
        try:
            importlib.import_module(name)
        except ImportError:
            report["missing"].append(name)
    import torch

    from . import figures, service, torchstate  # noqa: F401 - imported here so that a worker need not
    from .shell import make_shell

    torch.set_num_threads(1)
    torch.set_num_interop_threads(1)
    torchstate.make_harmless()
    torch.overrides.get_overridable_functions()
    if "matplotlib" in sys.modules:
        figures.draw_figures_once()
    shell = make_shell()
    for source in (
        *SHELL_WARMING,
        TORCH_WARMING,
        *([] if "matplotlib" not in sys.modules else [FIGURE_WARMING]),
    ):
        shell.run(source)
    shell.reset(new_session=False)
    shell.outputs.clear()
    shell.execution_count = 1
    torchstate.seed(config["seed"])
    report["torch"] = torch.__version__
    report["modules"] = sorted(name for name in config["course_modules"] if name in sys.modules)
    return shell


class _MemoryLoader(importlib.abc.MetaPathFinder, importlib.abc.InspectLoader):
    """Imports modules from memory: no file of the course is in the sandbox."""

    def __init__(self, sources: dict[str, dict[str, Any]]):
        self._sources = sources

    def find_spec(self, fullname, path=None, target=None):
        if fullname not in self._sources:
            return None
        package = self._sources[fullname]["package"]
        return importlib.machinery.ModuleSpec(fullname, self, origin=f"<{fullname}>", is_package=package)

    def get_source(self, fullname):
        return self._sources[fullname]["source"]

    def is_package(self, fullname):
        return self._sources[fullname]["package"]


def _install_course_modules(sources: dict[str, dict[str, Any]]) -> None:
    """Import the allowed modules, and put a `checks` in the place of the one whose answers are public."""
    sys.meta_path.insert(0, _MemoryLoader(sources))
    checks = types.ModuleType(
        "gradatim.checks", "While grading, check() does nothing: the hidden tests decide."
    )
    checks.check = lambda *args, **kwargs: None
    sys.modules["gradatim.checks"] = checks
    for name in sources:
        importlib.import_module(name)
    if "gradatim" in sys.modules:
        sys.modules["gradatim"].checks = checks


def _address_space() -> int:
    """Bytes of address space in use, 0 where the system does not say."""
    try:
        with open("/proc/self/statm") as stream:
            return int(stream.read().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0


# Workers


def _serve(control: socket.socket, config: dict[str, Any], report: dict[str, Any]) -> None:
    """Fork a worker for every request, until the first control socket, the owner's, is closed."""
    in_one_step = config["tier"] == "namespaces" and forking.is_possible_in_one_step()
    if not in_one_step:  # each worker then has a process between, which takes its status
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    shell = _SHELL[0] if _SHELL else None
    controls = {control.fileno(): control}
    poll = select.poll()
    poll.register(control, select.POLLIN)
    watched = forking.Watched(poll)
    while True:
        # One event at a time: seeing to it may close other descriptors, whose numbers then name new ones.
        number, _ = poll.poll()[0]
        if watched.attend(number):
            continue
        asking = controls[number]
        message, descriptors, _, _ = socket.recv_fds(asking, 1 << 16, 2)
        if message:
            request = json.loads(message)
            sockets = [socket.socket(fileno=number) for number in descriptors]
            if "join" in request:
                controls[sockets[0].fileno()] = sockets[0]
                poll.register(sockets[0], select.POLLIN)
                sockets[0].send(json.dumps(report).encode())
            elif in_one_step:
                forking.fork_in_one_step(watched, *sockets, config | request, shell)
            else:
                forking.fork_in_two_steps(controls.values(), *sockets, config | request, shell)
        elif asking is control:
            os._exit(0)  # the trusted side is gone; in the namespaces tier every worker dies with this one
        else:
            poll.unregister(asking)
            controls.pop(number).close()
