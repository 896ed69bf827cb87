"""What student code must not reach: each attack runs in the sandbox and reports what it got."""

import os
import textwrap

import pytest
import torch

from autograder.student import StudentFailure

TRY = '''
import ctypes, errno, os, signal, socket, struct, sys

libc = ctypes.CDLL(None, use_errno=True)

def attempt(function, *args):
    """"done", or the name of what stopped it."""
    try:
        result = function(*args)
    except BaseException as error:
        return type(error).__name__
    return "done" if result is None else repr(result)

def syscall(number, *args):
    ctypes.set_errno(0)
    result = libc.syscall(ctypes.c_long(number), *args)
    return errno.errorcode.get(ctypes.get_errno(), "done") if result == -1 else "done"
'''
X86 = {
    "ptrace": (101, 0, 0, 0, 0),
    "process_vm_readv": (310, 1, 0, 0, 0, 0, 0),
    "mount": (165, 0, 0, 0, 0, 0),
    "umount2": (166, b"/proc", 2),
    "chroot": (161, b"/"),
    "pivot_root": (155, b".", b"."),
    "unshare_user": (272, 0x10000000),
    "setns": (308, 3, 0),
    "keyctl": (250, 0, -3, 0),
    "add_key": (248, b"user", b"x", b"y", 1, -3),
    "bpf": (321, 0, 0, 0),
    "perf_event_open": (298, 0, 0, -1, -1, 0),
    "io_uring_setup": (425, 1, 0),
    "userfaultfd": (323, 0),
    "memfd_create": (319, b"x", 0),
    "shmget": (29, 0, 1 << 30, 0o1600),
    "msgget": (68, 0, 0o1600),
    "mq_open": (240, b"x", 0o102, 0o600, 0),
    "execve": (59, b"/bin/sh", 0, 0),
    "fork": (57,),
    "vfork": (58,),
    "open_by_handle_at": (304, -1, 0, 0),
    "pidfd_open": (434, 1, 0),
    "personality": (135, 0),
    "clone_newuser": (56, 0x10000000 | 17, 0, 0, 0, 0),
    "clone_process": (56, 17, 0, 0, 0, 0),
    "set_parent_death_signal": (157, 1, 0, 0, 0, 0),
    "socket_inet": (41, 2, 1, 0),
    "socket_netlink": (41, 16, 3, 0),
}


def run(worker, body, name="answer"):
    """Run `body` as a cell that defines the function `name`; what the function returns."""
    assert worker.run_cell(TRY).status == "ok"
    result = worker.run_cell(textwrap.dedent(body))
    assert result.status == "ok", (result.ename, result.evalue)
    return getattr(worker.student, name)()


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="the numbers below are x86_64's")
@pytest.mark.parametrize("call", sorted(X86))
def test_dangerous_system_calls_are_denied(worker, call):
    number, *args = X86[call]
    arguments = ", ".join(repr(arg) for arg in args)
    assert run(worker, f"answer = lambda: syscall({number}{', ' + arguments if args else ''})") == "EPERM"


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="the numbers below are x86_64's")
def test_clone3_and_unknown_system_calls_do_not_exist(worker):
    assert run(worker, "answer = lambda: (syscall(435, 0, 0), syscall(500))") == ("ENOSYS", "ENOSYS")


def test_there_is_no_network(worker):
    body = """
    def answer():
        return [attempt(socket.create_connection, ("127.0.0.1", 22), 1), attempt(socket.socket),
                attempt(socket.socket, socket.AF_UNIX), attempt(socket.getaddrinfo, "example.org", 80)]
    """
    assert all(outcome in ("PermissionError", "gaierror") for outcome in run(worker, body))


def test_no_course_home_or_system_file_can_be_read(worker):
    here = os.path.abspath(__file__)
    secrets = [
        here,
        os.path.dirname(here),
        os.path.expanduser("~/.bashrc"),
        "/etc/shadow",
    ]
    secrets += ["/root/.ssh", "/home", "/var/log", "/proc/1/root/etc/shadow", "/etc/hostname", "/mnt", "/run"]
    body = f"""
    def answer():
        opened = []
        for path in {secrets!r}:
            for look in (os.listdir, open):
                try:
                    got = look(path)
                    if got != []:
                        opened.append(path)
                except OSError:
                    pass
        return opened
    """
    assert run(worker, body) == []


def test_the_course_packages_cannot_be_imported(worker):
    body = """
    def answer():
        import importlib
        loaded = [name for name in sys.modules if name.split(".")[0] in ("autograder", "nbgrader")]
        loaded += [name for name in sys.modules if name.startswith("gradatim.") and name != "gradatim.checks"]
        return loaded, [attempt(importlib.import_module, name) for name in ("autograder", "gradatim.losses")]
    """
    assert run(worker, body) == (["gradatim._check"], ["ModuleNotFoundError", "ModuleNotFoundError"])


def test_an_allowed_course_module_can_be_imported(worker):
    body = """
    def answer():
        from gradatim import _check
        _check.require(True, "here", "x", "positive", 1)
        return _check.__file__ if hasattr(_check, "__file__") else "no file"
    """
    assert not os.path.exists(run(worker, body))


def test_the_public_check_does_nothing(worker):
    assert (
        worker.run_cell("from gradatim.checks import check\ncheck('mse')\ncheck('x', 1, y=2)").status == "ok"
    )


def test_the_interpreters_own_files_cannot_be_written(worker):
    body = """
    def answer():
        import numpy, torch
        targets = [os.__file__, numpy.__file__, torch.__file__, "/etc/passwd", "/x", "/dev/shm/../x", "/usr/lib/x"]
        return [attempt(open, path, "a") for path in targets], attempt(os.remove, os.__file__), attempt(os.mkdir, "/y")
    """
    writes, remove, mkdir = run(worker, body)
    assert all(
        outcome in ("PermissionError", "OSError", "FileNotFoundError") for outcome in [*writes, remove, mkdir]
    )


def test_its_own_directory_can_be_written(worker):
    body = """
    def answer():
        import tempfile
        with tempfile.NamedTemporaryFile("w+") as stream:
            stream.write("mine")
            stream.flush()
            open("notes.txt", "w").write("mine")
            return open("notes.txt").read()
    """
    assert run(worker, body) == "mine"


def test_no_other_process_is_visible(worker):
    body = """
    def answer():
        try:
            names = [name for name in os.listdir("/proc") if name.isdigit()]
        except OSError:
            names = []
        return names
    """
    assert run(worker, body) in (["1"], [])


def test_nothing_else_can_be_signalled(worker):
    parent = max(os.getppid(), 2)  # 1 would be the worker itself, in its own process space
    body = f"""
    def answer():
        return [attempt(os.kill, target, 9) for target in (-1, 0, os.getppid(), {os.getpid()}, {parent})]
    """
    outcomes = run(worker, body)
    assert all(outcome in ("PermissionError", "ProcessLookupError") for outcome in outcomes)
    assert worker.run_cell("1").status == "ok"


def test_the_environment_holds_nothing_of_the_graders(worker, monkeypatch):
    body = """
    def answer():
        try:
            environment = open("/proc/self/environ").read()
        except OSError:
            environment = ""
        return environment + " " + " ".join(os.environ)
    """
    names = {part.partition("=")[0] for part in run(worker, body).replace("\0", " ").split()}
    assert names <= {
        *(
            "HOME",
            "TMPDIR",
            "MPLCONFIGDIR",
            "IPYTHONDIR",
            "MPLBACKEND",
            "PATH",
            "LANG",
            "PYTHONHASHSEED",
            "GLIBC_TUNABLES",
            "PYTHONMALLOC",
        ),
        *("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "PYTHONDONTWRITEBYTECODE"),
        *(
            "KMP_DUPLICATE_LIB_OK",
            "KMP_INIT_AT_FORK",
            "TORCHINDUCTOR_CACHE_DIR",
            "PAGER",
            "CLICOLOR",
            "GIT_PAGER",
        ),
        *("TERM", "FORCE_COLOR", "CLICOLOR_FORCE", "LC_CTYPE", "PYDEVD_USE_FRAME_EVAL"),
    }


def test_no_descriptor_but_the_connection_is_open(worker):
    body = """
    def answer():
        import stat
        kinds = []
        for number in range(4096):
            try:
                kinds.append((number, stat.S_IFMT(os.fstat(number).st_mode)))
            except OSError:
                pass
        return kinds
    """
    kinds = run(worker, body)
    assert [number for number, _ in kinds] == [0, 1, 2, 3]


def test_the_heap_holds_no_secret_of_the_grader(worker, sandbox):
    secret = os.urandom(16).hex()
    sandbox.secret_of_the_grader = secret
    body = f"""
    def answer():
        import gc
        want = {secret[:16]!r} + {secret[16:20]!r}
        texts = (v for o in gc.get_objects() if isinstance(o, dict) for v in o.values() if type(v) is str)
        found = [text for text in texts if want in text and text != want]
        return len(found), [m for m in sys.modules if "client" in m and "sandbox" in m]
    """
    assert run(worker, body) == (0, [])


def test_capabilities_are_gone(worker):
    body = """
    def answer():
        header, data = struct.pack("Ii", 0x20080522, 0), ctypes.create_string_buffer(24)
        libc.capget(header, data)
        return data.raw == bytes(24), libc.prctl(39, 0, 0, 0, 0)
    """
    assert run(worker, body) == (True, 1)


def test_one_submission_cannot_leave_a_file_for_the_next(sandbox):
    leave = (
        "def answer():\n    for d in (os.environ['TMPDIR'], '.'):\n        open(d + '/left', 'w').write('x')"
    )
    look = "def answer():\n    return os.listdir('.'), os.path.exists(os.environ['TMPDIR'] + '/left')"
    with sandbox.open() as first:
        run(first, leave)
    with sandbox.open() as second:
        assert run(second, look) == ([], False)


def test_submissions_do_not_see_each_others_patches(sandbox):
    with sandbox.open() as first, sandbox.open() as second:
        first.run_cell(
            "import torch, json, builtins\ntorch.relu = None\njson.dumps = None\nbuiltins.len = None"
        )
        assert second.run_cell("import torch\nprint(torch.relu(torch.tensor(-1.0)), len([1]))").status == "ok"


def test_memory_outside_the_limits_count_is_closed(worker):
    body = """
    def answer():
        import multiprocessing.shared_memory as shared
        return attempt(os.memfd_create, "x"), attempt(lambda: shared.SharedMemory(create=True, size=1 << 33).buf[0] * 0)
    """
    memfd, shared = run(worker, body)
    assert memfd == "PermissionError"
    assert shared in ("PermissionError", "OSError", "MemoryError", "FileNotFoundError")


def test_large_files_are_refused(worker):
    body = """
    def answer():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        def flood():
            with open("flood", "wb") as stream:
                for _ in range(300):
                    stream.write(bytes(1 << 20))
        return attempt(flood)
    """
    assert run(worker, body) == "OSError"


def test_many_files_are_refused_where_the_directory_is_its_own(sandboxes):
    with sandboxes("namespaces").open() as worker:
        body = """
        def answer():
            def flood():
                for n in range(100_000):
                    open(f"f{n}", "w").close()
            return attempt(flood)
        """
        assert run(worker, body) == "OSError"


def test_a_fork_bomb_does_not_start(worker):
    body = """
    def answer():
        import subprocess, multiprocessing
        return [attempt(os.fork), attempt(subprocess.run, ["true"]), attempt(os.system, "true"),
                attempt(os.posix_spawn, "/bin/true", ["true"], {})]
    """
    outcomes = run(worker, body)
    assert all(outcome != "done" and not outcome.startswith("0") for outcome in outcomes)


def test_a_thread_bomb_is_bounded(worker):
    body = """
    def answer():
        import threading, time
        threading.stack_size(65536)
        count = 0
        try:
            for _ in range(3000):
                threading.Thread(target=time.sleep, args=(30,), daemon=True).start()
                count += 1
        except RuntimeError:
            pass
        return count
    """
    if os.getuid() == 0 and "namespaces" not in str(worker._spawn.__self__.tier):
        pytest.skip("RLIMIT_NPROC does not bind root, and this Python cannot be read by anyone else")
    try:
        assert run(worker, body) < 2000
    except StudentFailure as failed:
        assert failed.kind in ("memory", "crashed")  # noqa: PT017
    assert torch.get_num_threads() >= 1
