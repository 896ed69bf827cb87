"""Optimizer steps against torch's, in one run: `python benchmarks/optim.py [--compiled] [--rounds 45] [--device cuda]`.

In every round the contestants take their steps in a shuffled order, so a busy machine slows all of them alike; a
figure is the median over the rounds of the ratio within a round. Below 1 means that ours is faster. Where memory
happens to lie changes an optimizer's time by 3 %, so every five rounds the contestants are made anew, ours first,
last or between. On a CPU the clock is the process's own time and one thread is used; on a GPU it is wall time around
a synchronised run.
Peak memory is what a step allocates at most beyond the parameters, gradients and state.
"""

import argparse
import random
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch

import gradatim.optim

CASES = {"40 x 2k": (40, (64, 32)), "10 x 1M": (10, (1000, 1000))}
RULES: dict[str, tuple[str, dict[str, Any]]] = {
    "SGD": ("SGD", {"lr": 1e-3}),
    "SGD, momentum": ("SGD", {"lr": 1e-3, "momentum": 0.9}),
    "SGD, Nesterov, decay": ("SGD", {"lr": 1e-3, "momentum": 0.9, "nesterov": True, "weight_decay": 1e-4}),
    "Adam": ("Adam", {}),
    "Adam, AMSGrad": ("Adam", {"amsgrad": True}),
    "AdamW": ("AdamW", {}),
    "RMSprop": ("RMSprop", {}),
    "RMSprop, centered": ("RMSprop", {"centered": True, "momentum": 0.9}),
    "Adagrad": ("Adagrad", {}),
    "Adadelta": ("Adadelta", {}),
    "Adamax": ("Adamax", {}),
    "NAdam": ("NAdam", {}),
    "RAdam": ("RAdam", {}),
    "Adafactor": ("Adafactor", {}),
    "Muon": ("Muon", {}),
}
SMALLER = {
    "Muon": {"10 x 65k": (10, (256, 256))}
}  # a step at 10 x 1M takes torch minutes where bfloat16 is slow
HAS_FUSED = ("SGD", "Adam", "AdamW", "Adagrad")
NO_FOREACH = ("Muon",)


def cases(rule: str) -> dict[str, tuple[int, tuple[int, int]]]:
    """How many tensors of which shape."""
    return {"40 x 2k": CASES["40 x 2k"], **SMALLER[rule]} if rule in SMALLER else CASES


def parameters(count: int, shape: tuple[int, ...], device: str) -> list[torch.nn.Parameter]:
    """Seeded parameters with seeded gradients."""
    generator = torch.Generator(device).manual_seed(0)
    params = []
    for _ in range(count):
        param = torch.nn.Parameter(torch.randn(shape, device=device, generator=generator))
        param.grad = torch.randn(shape, device=device, generator=generator)
        params.append(param)
    return params


def contestants(
    rule: str, case: str, device: str, compiled: bool, placement: int = 0
) -> dict[str, Callable[[], Any]]:
    """The steps to compare, warmed up: state exists and nothing is compiled inside the timing.

    They are made in an order that `placement` turns.
    """
    name, options = RULES[rule]
    ours, torchs = getattr(gradatim.optim, name), getattr(torch.optim, name)

    def params() -> list[torch.nn.Parameter]:
        return parameters(*cases(rule)[case], device)

    makers: dict[str, Callable[[], Callable[[], Any]]] = {
        "ours": lambda: ours(params(), **options).step,
        "default": lambda: torchs(params(), **options).step,
    }
    if name not in NO_FOREACH:
        makers["foreach"] = lambda: torchs(params(), **options, foreach=True).step
    if name in HAS_FUSED:
        makers["fused"] = lambda: torchs(params(), **options, fused=True).step
    if compiled:
        torch.compiler.reset()  # each optimizer is a recompilation of `step`, and their number is limited
        makers["compiled"] = lambda: torch.compile(ours(params(), **options).step, fullgraph=True)
    names = list(makers)
    turned = names[placement % len(names) :] + names[: placement % len(names)]
    steps = {name: makers[name]() for name in turned}
    for step in steps.values():
        for _ in range(3):
            start = time.perf_counter()
            step()
            if time.perf_counter() - start > 1:  # as warm as it will be
                break
    return steps


def seconds(step: Callable[[], Any], repeats: int, device: str) -> float:
    """Time of one step, over `repeats` steps."""
    clock = time.process_time if device == "cpu" else time.perf_counter
    if device != "cpu":
        torch.cuda.synchronize()
    start = clock()
    for _ in range(repeats):
        step()
    if device != "cpu":
        torch.cuda.synchronize()
    return (clock() - start) / repeats


def peak_bytes(step: Callable[[], Any], device: str) -> int:
    """The most memory that one step holds at a time beyond what was there before."""
    if device != "cpu":
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        step()
        return torch.cuda.max_memory_allocated() - before
    with torch.profiler.profile(
        activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True
    ) as profile:
        step()
    held = peak = 0
    events = profile.profiler.kineto_results.events()  # type: ignore[union-attr]
    for event in sorted((e for e in events if e.name() == "[memory]"), key=lambda e: e.start_ns()):
        held += event.nbytes()
        peak = max(peak, held)
    return peak


def compare(rule: str, case: str, device: str, compiled: bool, rounds: int) -> str:
    """One row of the table."""
    steps = contestants(rule, case, device, compiled)
    once = {name: seconds(step, 1, device) for name, step in steps.items()}
    repeats = max(1, round(0.02 / once["ours"]))
    rounds = max(3, min(rounds, round(30 / sum(once.values()))))
    of_one_making = rounds if compiled else 5  # to compile anew takes too long
    times: dict[str, list[float]] = {name: [] for name in steps}
    shuffled = random.Random(0)
    for turn in range(rounds):
        if turn and turn % of_one_making == 0:
            steps.clear()
            steps = contestants(rule, case, device, compiled, turn // of_one_making)
        for name in shuffled.sample(sorted(steps), len(steps)):
            times[name].append(seconds(steps[name], repeats, device))

    def ratio(mine: str, theirs: str) -> str:
        if mine not in times or theirs not in times:
            return "-"
        return f"{statistics.median(a / b for a, b in zip(times[mine], times[theirs], strict=True)):.2f}"

    def megabytes(name: str) -> str:
        return f"{peak_bytes(steps[name], device) / 2**20:.2f}" if name in steps else "-"

    cells = [rule, case, f"{1e3 * statistics.median(times['ours']):.2f}"]
    cells += [ratio("ours", theirs) for theirs in ("default", "foreach", "fused")]
    if compiled:
        cells += [ratio("compiled", theirs) for theirs in ("default", "fused")]
    cells += [megabytes(name) for name in ("ours", "default", "foreach", "fused")]
    return "| " + " | ".join(cells) + " |"


def main() -> None:
    """Print the table as Markdown."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--compiled", action="store_true", help="add the step compiled by torch.compile")
    parser.add_argument("--rounds", type=int, default=45)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--rules", nargs="*", default=list(RULES), help="names as in the first column")
    arguments = parser.parse_args()
    if arguments.device == "cpu":
        torch.set_num_threads(1)
    where = torch.cuda.get_device_name() if arguments.device == "cuda" else "CPU, one thread"
    print(f"torch {torch.__version__}, {where}, medians of up to {arguments.rounds} rounds\n")
    head = ["rule", "tensors", "ours, ms", "/ default", "/ foreach", "/ fused"]
    if arguments.compiled:
        head += ["compiled / default", "compiled / fused"]
    head += [f"peak MB {name}" for name in ("ours", "default", "foreach", "fused")]
    print("| " + " | ".join(head) + " |")
    print("|---|---|" + "---:|" * (len(head) - 2))
    for rule in arguments.rules:
        for case in cases(rule):
            print(compare(rule, case, arguments.device, arguments.compiled, arguments.rounds), flush=True)


if __name__ == "__main__":
    main()
