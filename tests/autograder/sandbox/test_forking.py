"""Workers made in one step and in two: the same process either way."""

import json
import subprocess
import sys

import pytest

from autograder.sandbox import available_tiers

pytestmark = pytest.mark.skipif(
    not any(t.name == "namespaces" and t.available for t in available_tiers()), reason="no namespaces here"
)

THREADS = """
import signal, threading
signal.pthread_kill(threading.get_ident(), 0)  # by the number that libc has noted
lock, seen = threading.RLock(), []
def work():
    with lock, lock:
        seen.append(threading.get_native_id())
threads = [threading.Thread(target=work) for _ in range(4)]
[t.start() for t in threads]
[t.join() for t in threads]
def numbers():
    return threading.get_native_id(), len(set(seen))
"""

#: Starts a worker and prints how it fared. With "two", clone3 is unknown, as in some containers.
SCRIPT = """
import json, sys
from autograder.sandbox import Sandbox, SandboxConfig, linux
if sys.argv[1] == "two":
    unknown = linux.SYSCALLS["clone3"][linux._column()]
    linux.install_filter(linux._instruction(linux._LOAD, 0) + linux._instruction(linux._EQUAL, unknown, when_false=1)
        + linux._instruction(linux._RETURN, linux._ENOSYS) + linux._instruction(linux._RETURN, linux._ALLOW))

def number_in(path, field):
    return int(next(line.split()[1] for line in open(path) if line.startswith(field)))

with Sandbox(SandboxConfig(tier="namespaces", preload_if_present=())) as sandbox, sandbox.open() as worker:
    assert worker.run_cell(sys.argv[2]).status == "ok"
    fared = {"threads": worker.student.numbers(), "generations": 0, "ends": []}
    pid = number_in(f"/proc/self/fdinfo/{worker._process._descriptor}", "Pid:")
    while pid != sandbox._zygote._process.pid:
        pid, fared["generations"] = number_in(f"/proc/{pid}/status", "PPid:"), fared["generations"] + 1
    for line in ("import os; os._exit(3)", "import ctypes; ctypes.string_at(0)", "1 / 0"):
        result = worker.run_cell(line)
        fared["ends"].append((result.status, result.evalue))
    print(json.dumps(fared))
"""


def fare(way: str) -> dict:
    command = [sys.executable, "-c", SCRIPT, way, THREADS]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_a_worker_is_the_same_in_one_step_and_in_two():
    one, two = fare("one"), fare("two")
    assert (one.pop("generations"), two.pop("generations")) == (2, 3)
    assert one == two
    assert one["threads"] == [1, 4]
    assert [status for status, _ in one["ends"]] == ["crashed", "crashed", "error"]
    assert "segmentation fault" in one["ends"][1][1]
