"""Times the sandbox: starting a worker, a request, ending a worker, and the memory that a worker takes.

    python benchmarks/sandbox_spawn.py [--tier namespaces] [--rounds 30]

Prints medians in milliseconds. Other load on the machine shows: compare runs taken side by side only.
"""

import argparse
import os
import statistics
import time

for _name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[_name] = "1"

import torch  # noqa: E402

from autograder.sandbox import Sandbox, SandboxConfig  # noqa: E402

CELL = "import torch\ndef double(x):\n    return 2 * x\nclass Box:\n    def step(self):\n        return None"


def milliseconds(action) -> float:
    start = time.perf_counter()
    action()
    return (time.perf_counter() - start) * 1000


def own_memory(process) -> float:
    """Mebibytes of the worker that it does not share with the zygote."""
    with open(f"/proc/self/fdinfo/{process._descriptor}") as stream:
        pid = next(line.split()[1] for line in stream if line.startswith("Pid:"))
    with open(f"/proc/{pid}/smaps_rollup") as stream:
        return sum(int(line.split()[1]) for line in stream if line.startswith("Private_")) / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tier", default=None)
    parser.add_argument("--rounds", type=int, default=30)
    options = parser.parse_args()
    torch.set_num_threads(1)
    times: dict[str, list[float]] = {}
    start = time.perf_counter()
    with Sandbox(SandboxConfig(tier=options.tier)) as sandbox:
        print(f"tier {sandbox.tier}; zygote ready in {time.perf_counter() - start:.2f} s")
        x, memory = torch.ones(8, requires_grad=True), []
        for _ in range(options.rounds):
            worker = sandbox.open()
            times.setdefault("spawn", []).append(milliseconds(lambda w=worker: w._ensure_process()))
            times.setdefault("first cell", []).append(milliseconds(lambda w=worker: w.run_cell(CELL)))
            times.setdefault("next cell", []).append(milliseconds(lambda w=worker: w.run_cell("1")))
            double = worker.student.double
            double(x)
            times.setdefault("call", []).append(milliseconds(lambda d=double: d(x)))
            result = double(x).sum()
            times.setdefault("gradient", []).append(milliseconds(result.backward))
            box = worker.student.Box()
            step = box.step
            times.setdefault("method", []).append(milliseconds(step))
            memory.append(own_memory(worker._process))
            times.setdefault("kill", []).append(milliseconds(worker.close))
    print("\n| what | median, ms | fastest, ms |\n|---|---:|---:|")
    for name, values in times.items():
        print(f"| {name} | {statistics.median(values):.2f} | {min(values):.2f} |")
    print(f"\nA worker has {statistics.median(memory):.1f} MiB of its own (median).")


if __name__ == "__main__":
    main()
