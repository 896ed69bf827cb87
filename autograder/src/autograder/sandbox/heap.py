"""The zygote's heap made ready to be shared: what a worker allocates is not to lie between the zygote's objects."""

from __future__ import annotations

import ctypes

LARGEST_POWER, SMALLEST_POWER = 16, 10
_STEP, _SMALLEST = 16, 24  # malloc's sizes on 64-bit systems
_MOST = 1 << 20  # blocks; a heap with more holes keeps some


class _Statistics(ctypes.Structure):
    """struct mallinfo2 of malloc.h."""

    _fields_ = [
        (name, ctypes.c_size_t)
        for name in (
            *("arena", "ordblks", "smblks", "hblks", "hblkhd"),
            *("usmblks", "fsmblks", "uordblks", "fordblks", "keepcost"),
        )
    ]


def statistics() -> _Statistics:
    """What malloc says of its heap. Raises AttributeError with a libc that has no mallinfo2."""
    ask = ctypes.CDLL(None).mallinfo2
    ask.restype = _Statistics
    return ask()


def fill_holes() -> int:
    """Take all free memory below the heap's top, for good. Returns how many blocks that took; 0 with another libc.

    A page that a worker writes to is copied first. Freed blocks of what was imported lie strewn over the whole heap,
    and a worker's new objects would go there: half of the pages that it had copied it wrote to for no other reason.
    """
    try:
        libc = ctypes.CDLL(None)
        malloc, end_of_heap, keepcost = libc.malloc, libc.sbrk, statistics().keepcost
    except (AttributeError, OSError, TypeError):  # macOS, musl, an older glibc
        return 0
    malloc.restype, malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
    end_of_heap.restype, end_of_heap.argtypes = ctypes.c_void_p, [ctypes.c_ssize_t]
    top, taken = end_of_heap(0) - keepcost, 0
    for size in _sizes():
        address = 0
        while address < top and taken < _MOST:  # one that lies higher says that no hole of this size is left
            address = malloc(size) or top
            taken += 1
    return taken


def _sizes() -> list[int]:
    """From large to small: what a large block leaves of a hole, a smaller one takes."""
    powers = [1 << k for k in range(LARGEST_POWER, SMALLEST_POWER - 1, -1)]
    return powers + list(range(powers[-1] - _STEP // 2, _SMALLEST - 1, -_STEP))
