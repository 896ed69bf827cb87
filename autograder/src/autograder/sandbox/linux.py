"""Every Linux system call the sandbox makes, through ctypes: namespaces, mounts, capabilities, Landlock, seccomp.

This module knows mechanisms only; `zygote` and `worker` decide what to isolate. It depends on the standard
library alone, because it also runs where nothing else may be imported. Importing it is harmless on any system;
calling it needs Linux 5.12 or newer on x86_64 or aarch64.
Sources: man-pages 6.x, sections 2 and 7, and the kernel's headers.
"""

from __future__ import annotations

import ctypes
import os
import platform
import signal
import struct
import sys
from collections.abc import Iterable

LINUX = sys.platform == "linux"
MACHINE = {"x86_64": "x86_64", "amd64": "x86_64", "aarch64": "aarch64", "arm64": "aarch64"}.get(
    platform.machine().lower()
)
SUPPORTED = LINUX and MACHINE is not None

# clone(2), unshare(2)
NEWNS, NEWUTS, NEWIPC = 0x00020000, 0x04000000, 0x08000000
NEWUSER, NEWPID, NEWNET = 0x10000000, 0x20000000, 0x40000000
NAMESPACE_FLAGS = 0x7E020080  # every CLONE_NEW* bit of clone(2), CLONE_NEWTIME (0x80) among them
CLONE_THREAD, CHILD_CLEARTID, CHILD_SETTID = 0x00010000, 0x00200000, 0x01000000

# mount(2), umount2(2)
RDONLY, NOSUID, NODEV, NOEXEC, REMOUNT, BIND, REC, PRIVATE = 1, 2, 4, 8, 32, 4096, 16384, 1 << 18
DETACH = 2

# prctl(2)
PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_CAPBSET_DROP = 1, 4, 24
PR_SET_SECCOMP, PR_SET_NO_NEW_PRIVS, PR_GET_TID_ADDRESS, PR_CAP_AMBIENT = 22, 38, 40, 47

libc = ctypes.CDLL(None, use_errno=True) if LINUX else None
#: Calls that Python's lock is kept through, as os.fork() does.
_LIBC_WITHIN_PYTHON = ctypes.PyDLL(None, use_errno=True) if LINUX else None


def check(result: int, what: str) -> int:
    """Raise OSError named after the call when libc returned -1."""
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
    return result


def _syscall(name: str, *args, library: ctypes.CDLL | None = libc) -> int:
    numbers = SYSCALLS[name]
    return library.syscall(ctypes.c_long(numbers[_column()]), *args)


def _column() -> int:
    return 0 if MACHINE == "x86_64" else 1


def _bytes(path: str | None) -> bytes | None:
    return None if path is None else os.fsencode(path)


# Processes and namespaces


def unshare(flags: int) -> None:
    check(libc.unshare(ctypes.c_int(flags)), "unshare")


def fork_into(flags: int) -> int:
    """As os.fork(), with the child in new namespaces from its start (clone3(2)); it is process 1 of a new NEWPID.

    Only for a process of one thread: libc's own preparations for a fork, which concern locks that other threads may
    hold, do not run. What it notes of the thread's number the kernel sets in its place; Python's part is done here.
    """
    address = ctypes.c_void_p()  # where libc keeps the number
    prctl(PR_GET_TID_ADDRESS, ctypes.addressof(address))
    if not address.value:
        raise OSError("clone3: the kernel does not tell where the thread's number is kept")
    flags |= CHILD_CLEARTID | CHILD_SETTID
    arguments = struct.pack("=8Q", flags, 0, address.value, 0, signal.SIGCHLD, 0, 0, 0)
    size = ctypes.c_size_t(len(arguments))
    ctypes.pythonapi.PyOS_BeforeFork()
    child = _syscall("clone3", arguments, size, library=_LIBC_WITHIN_PYTHON)
    if child == 0:
        ctypes.pythonapi.PyOS_AfterFork_Child()
        return 0
    ctypes.pythonapi.PyOS_AfterFork_Parent()
    return check(child, "clone3")


def prctl(option: int, *args: int) -> int:
    padded = [ctypes.c_ulong(value) for value in (*args, 0, 0, 0, 0)[:4]]
    return check(libc.prctl(ctypes.c_int(option), *padded), f"prctl({option})")


def die_with_parent() -> None:
    """Have the kernel send SIGKILL to this process when the thread that forked it ends."""
    prctl(PR_SET_PDEATHSIG, 9)


def map_own_identity(uid: int, gid: int) -> None:
    """In a fresh user namespace, map the caller's user and group to themselves and nothing else."""
    for name, text in (("setgroups", "deny"), ("uid_map", f"{uid} {uid} 1"), ("gid_map", f"{gid} {gid} 1")):
        with open(f"/proc/self/{name}", "w") as stream:
            stream.write(text)


def set_hostname(name: str) -> None:
    encoded = name.encode()
    check(libc.sethostname(encoded, ctypes.c_size_t(len(encoded))), "sethostname")


def drop_capabilities() -> None:
    """Empty every capability set, the bounding set among them, and forbid regaining any by exec."""
    for capability in range(64):
        if libc.prctl(PR_CAPBSET_DROP, ctypes.c_ulong(capability), 0, 0, 0) < 0:
            break  # EINVAL: past the kernel's last capability; EPERM: nothing to drop
    libc.prctl(PR_CAP_AMBIENT, ctypes.c_ulong(4), 0, 0, 0)  # PR_CAP_AMBIENT_CLEAR_ALL
    header = struct.pack("=Ii", 0x20080522, 0)  # _LINUX_CAPABILITY_VERSION_3, this thread
    check(libc.capset(header, bytes(24)), "capset")
    prctl(PR_SET_NO_NEW_PRIVS, 1)


# Mounts


def mount(
    source: str | None, target: str, kind: str | None = None, flags: int = 0, options: str | None = None
) -> None:
    result = libc.mount(_bytes(source), _bytes(target), _bytes(kind), ctypes.c_ulong(flags), _bytes(options))
    check(result, f"mount {target}")


def unmount(target: str) -> None:
    check(libc.umount2(_bytes(target), DETACH), f"umount {target}")


def make_read_only(path: str) -> None:
    """Make the mount at `path` and all below it read-only, without set-user-id programs and devices."""
    attributes = struct.pack("=QQQQ", RDONLY | NOSUID | NODEV, 0, 0, 0)  # MOUNT_ATTR_*: the same low bits
    size = ctypes.c_size_t(len(attributes))
    at_fdcwd, at_recursive = ctypes.c_int(-100), ctypes.c_uint(0x8000)
    check(
        _syscall("mount_setattr", at_fdcwd, _bytes(path), at_recursive, attributes, size),
        f"mount_setattr {path}",
    )


def pivot_into(root: str) -> None:
    """Make the mount at `root` the root directory and detach the old one. `root`/.old must exist."""
    os.chdir(root)
    check(_syscall("pivot_root", b".", b".old"), "pivot_root")
    os.chdir("/")
    unmount("/.old")


# Landlock (landlock(7))

_READ_FILE, _READ_DIR, _EXECUTE = 1 << 2, 1 << 3, 1 << 0
_FILE_RIGHTS = (1 << 0) | (1 << 1) | (1 << 2) | (1 << 14) | (1 << 15)  # those that make sense on a file


def landlock_version() -> int:
    """The kernel's Landlock ABI version, 0 where it has none."""
    if not SUPPORTED:
        return 0
    return max(0, _syscall("landlock_create_ruleset", None, ctypes.c_size_t(0), ctypes.c_uint(1)))


def restrict_files(read: Iterable[str], write: Iterable[str], listed: Iterable[str] = ()) -> int:
    """Allow reading below `read`, everything below `write`, no other file access, no TCP, no signals to outsiders.

    Below `listed`, directories can be listed, but no file read.

    Paths that do not exist are skipped. Returns the ABI version in force, 0 where the kernel has no Landlock.
    """
    version = landlock_version()
    if version < 1:
        return 0
    handled = (1 << 13) - 1
    for since, bit in ((2, 13), (3, 14), (5, 15)):  # REFER, TRUNCATE, IOCTL_DEV
        handled |= (1 << bit) if version >= since else 0
    network, scope = (3 if version >= 4 else 0), (3 if version >= 6 else 0)
    attributes = struct.pack("=QQQ", handled, network, scope)[
        : 24 if version >= 6 else 16 if version >= 4 else 8
    ]
    ruleset = check(
        _syscall("landlock_create_ruleset", attributes, ctypes.c_size_t(len(attributes)), ctypes.c_uint(0)),
        "landlock_create_ruleset",
    )
    try:
        for path in read:
            _allow(ruleset, path, (_READ_FILE | _READ_DIR | _EXECUTE) & handled)
        for path in listed:
            _allow(ruleset, path, _READ_DIR & handled)
        for path in write:
            _allow(ruleset, path, handled)
        prctl(PR_SET_NO_NEW_PRIVS, 1)
        check(
            _syscall("landlock_restrict_self", ctypes.c_int(ruleset), ctypes.c_uint(0)),
            "landlock_restrict_self",
        )
    finally:
        os.close(ruleset)
    return version


def _allow(ruleset: int, path: str, rights: int) -> None:
    try:
        beneath = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return
    try:
        rights = rights if os.path.isdir(path) else rights & _FILE_RIGHTS
        rule = struct.pack("=Qi", rights, beneath)
        path_beneath = ctypes.c_int(1)
        check(
            _syscall("landlock_add_rule", ctypes.c_int(ruleset), path_beneath, rule, ctypes.c_uint(0)),
            f"landlock_add_rule {path}",
        )
    finally:
        os.close(beneath)


# Seccomp (seccomp(2)). A deny list: what a numerical program needs differs between versions of libc and torch, what it
# must not do does not. Calls newer than the table are answered "no such call", as by an older kernel.

SYSCALLS: dict[str, tuple[int | None, int | None]] = {  # name: (x86_64, aarch64)
    "pivot_root": (155, 41),
    "mount_setattr": (442, 442),
    "landlock_create_ruleset": (444, 444),
    "landlock_add_rule": (445, 445),
    "landlock_restrict_self": (446, 446),
    "clone": (56, 220),
    "clone3": (435, 435),
    "prctl": (157, 167),
    "kill": (62, 129),
    "tgkill": (234, 131),
    "rt_sigqueueinfo": (129, 138),
    "rt_tgsigqueueinfo": (297, 240),
}
NEWEST_KNOWN = 466
DENIED: dict[str, tuple[int | None, int | None]] = {
    # other processes
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "process_madvise": (440, 440),
    "process_mrelease": (448, 448),
    "kcmp": (312, 272),
    "pidfd_open": (434, 434),
    "pidfd_getfd": (438, 438),
    "pidfd_send_signal": (424, 424),
    "tkill": (200, 130),
    "execve": (59, 221),
    "execveat": (322, 281),
    "fork": (57, None),
    "vfork": (58, None),
    # mounts and namespaces
    "mount": (165, 40),
    "umount2": (166, 39),
    "pivot_root": (155, 41),
    "chroot": (161, 51),
    "move_mount": (429, 429),
    "fsopen": (430, 430),
    "fsconfig": (431, 431),
    "fsmount": (432, 432),
    "fspick": (433, 433),
    "open_tree": (428, 428),
    "mount_setattr": (442, 442),
    "statmount": (457, 457),
    "listmount": (458, 458),
    "unshare": (272, 97),
    "setns": (308, 268),
    # kernel interfaces with a history
    "bpf": (321, 280),
    "perf_event_open": (298, 241),
    "io_uring_setup": (425, 425),
    "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427),
    "userfaultfd": (323, 282),
    "keyctl": (250, 219),
    "add_key": (248, 217),
    "request_key": (249, 218),
    "kexec_load": (246, 104),
    "kexec_file_load": (320, 294),
    "init_module": (175, 105),
    "finit_module": (313, 273),
    "delete_module": (176, 106),
    "open_by_handle_at": (304, 265),
    "name_to_handle_at": (303, 264),
    "fanotify_init": (300, 262),
    "swapon": (167, 224),
    "swapoff": (168, 225),
    "reboot": (169, 142),
    "sethostname": (170, 161),
    "setdomainname": (171, 162),
    "quotactl": (179, 60),
    "quotactl_fd": (443, 443),
    "acct": (163, 89),
    "syslog": (103, 116),
    "personality": (135, 92),
    "settimeofday": (164, 170),
    "clock_settime": (227, 112),
    "clock_adjtime": (305, 266),
    "adjtimex": (159, 171),
    "modify_ldt": (154, None),
    "iopl": (172, None),
    "ioperm": (173, None),
    "vhangup": (153, 58),
    # memory and queues that no resource limit counts
    "memfd_create": (319, 279),
    "memfd_secret": (447, 447),
    "shmget": (29, 194),
    "shmat": (30, 196),
    "msgget": (68, 186),
    "semget": (64, 190),
    "mq_open": (240, 180),
    # network
    "socket": (41, 198),
    "connect": (42, 203),
    "bind": (49, 200),
    "listen": (50, 201),
}

_LOAD, _EQUAL, _SET, _AT_LEAST, _RETURN = 0x20, 0x15, 0x45, 0x35, 0x06  # BPF opcodes, 32-bit absolute loads
_ALLOW, _KILL, _EPERM, _ENOSYS = 0x7FFF0000, 0x80000000, 0x00050000 | 1, 0x00050000 | 38
_ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
_NUMBER_AT, _ARCHITECTURE_AT, _ARGUMENTS_AT = 0, 4, 16  # offsets in struct seccomp_data


def _instruction(code: int, value: int, when_true: int = 0, when_false: int = 0) -> bytes:
    return struct.pack("=HBBI", code, when_true, when_false, value & 0xFFFFFFFF)


def seccomp_program(own_pid: int, machine: str | None = MACHINE) -> bytes:
    """The BPF program that refuses DENIED, new processes and namespaces, and signals to anyone but `own_pid`."""
    column = 0 if machine == "x86_64" else 1
    program = [
        _instruction(_LOAD, _ARCHITECTURE_AT),
        _instruction(_EQUAL, _ARCHITECTURES[machine], when_true=1),
        _instruction(_RETURN, _KILL),
        _instruction(_LOAD, _NUMBER_AT),
    ]

    def when(number: int, *body: bytes) -> None:
        program.extend((_instruction(_EQUAL, number, when_false=len(body)), *body))

    if machine == "x86_64":  # the x32 numbers are a second way to the same calls
        program += [_instruction(_AT_LEAST, 0x40000000, when_false=1), _instruction(_RETURN, _KILL)]
    program += [_instruction(_AT_LEAST, NEWEST_KNOWN + 1, when_false=1), _instruction(_RETURN, _ENOSYS)]
    when(SYSCALLS["clone3"][column], _instruction(_RETURN, _ENOSYS))  # libc then falls back to clone
    for number in sorted({numbers[column] for numbers in DENIED.values() if numbers[column] is not None}):
        when(number, _instruction(_RETURN, _EPERM))
    when(
        SYSCALLS["clone"][column],
        _instruction(_LOAD, _ARGUMENTS_AT),
        _instruction(_SET, NAMESPACE_FLAGS & ~0x80, when_true=1),  # 0x80 is part of clone(2)'s exit signal
        _instruction(_SET, CLONE_THREAD, when_true=1),
        _instruction(_RETURN, _EPERM),
        _instruction(_RETURN, _ALLOW),
    )
    for name in ("kill", "tgkill", "rt_sigqueueinfo", "rt_tgsigqueueinfo"):
        when(
            SYSCALLS[name][column],
            _instruction(_LOAD, _ARGUMENTS_AT),
            _instruction(_EQUAL, own_pid, when_true=1),
            _instruction(_RETURN, _EPERM),
            _instruction(_RETURN, _ALLOW),
        )
    when(
        SYSCALLS["prctl"][column],
        _instruction(_LOAD, _ARGUMENTS_AT),
        _instruction(_EQUAL, PR_SET_PDEATHSIG, when_false=1),  # a worker may not outlive its parent
        _instruction(_RETURN, _EPERM),
        _instruction(_RETURN, _ALLOW),
    )
    program.append(_instruction(_RETURN, _ALLOW))
    return b"".join(program)


class _Program(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("instructions", ctypes.c_void_p)]


def restrict_system_calls() -> None:
    """Install the filter for this process and all its future threads. It cannot be taken off."""
    install_filter(seccomp_program(os.getpid()))


def install_filter(code: bytes) -> None:
    """Install a BPF program as the filter of this process's system calls."""
    buffer = ctypes.create_string_buffer(code, len(code))
    program = _Program(len(code) // 8, ctypes.addressof(buffer))
    prctl(PR_SET_NO_NEW_PRIVS, 1)
    filter_mode = ctypes.c_ulong(2)
    check(libc.prctl(PR_SET_SECCOMP, filter_mode, ctypes.byref(program), 0, 0), "seccomp")


def set_resource_limits(limits: dict[str, int]) -> None:
    """Set soft and hard RLIMIT_<name>, never above the present hard limit."""
    import resource

    for name, value in limits.items():
        kind = getattr(resource, f"RLIMIT_{name}", None)
        if kind is None:
            continue
        hard = resource.getrlimit(kind)[1]
        value = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(kind, (value, value))
