"""The zygote's heap: after its holes are filled, a worker's new objects lie apart from the zygote's."""

import ctypes
import subprocess
import sys

import pytest

from autograder.sandbox import heap

glibc = pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallinfo2"), reason="needs glibc 2.33 or newer")

SCRIPT = """
from autograder.sandbox import heap
held = [bytes(200 + k % 700) for k in range(40_000)]
del held[::2]  # holes between what stays
def free_below_the_top():
    heap_now = heap.statistics()
    return heap_now.fordblks - heap_now.keepcost
before, taken = free_below_the_top(), heap.fill_holes()
print(before, free_below_the_top(), taken, heap.fill_holes())
"""


@glibc
def test_next_to_no_memory_below_the_top_stays_free():
    environment = {"PYTHONMALLOC": "malloc"}
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, env=environment)
    before, after, taken, again = map(int, done.stdout.split())
    assert before > 5 << 20
    assert after < before / 50
    assert taken > 1000
    assert again < taken / 10


def test_another_libc_is_left_alone(monkeypatch):
    monkeypatch.setattr(ctypes, "CDLL", lambda name: object())
    assert heap.fill_holes() == 0
