"""A bound on what this process may allocate while a hidden test works on what a submission returned."""

import contextlib
import sys
from collections.abc import Iterator

ROOM = 1 << 30  # bytes that a test may take beyond what the process has already


@contextlib.contextmanager
def bounded_memory(room: int = ROOM) -> Iterator[None]:
    """Have allocations fail that would make the process grow by more than `room` bytes.

    A returned tensor of a wrong shape is broadcast by the test before it is compared: 32 MiB against fifty values are
    1.6 GiB, and the kernel could end the grader. So the allocation fails, and with it the test. Linux only.
    """
    if sys.platform != "linux":
        yield
        return
    import resource

    with open("/proc/self/statm", encoding="ascii") as stream:
        pages = int(stream.read().split()[5])  # of data, which RLIMIT_DATA counts since Linux 4.7
    wanted = pages * resource.getpagesize() + room
    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    if any(limit != resource.RLIM_INFINITY and limit < wanted for limit in (soft, hard)):
        yield  # a stricter limit is in force already
        return
    resource.setrlimit(resource.RLIMIT_DATA, (wanted, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))
