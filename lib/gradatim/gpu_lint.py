"""Find what would fail or stall on a GPU, on a machine that has none.

Code that follows its inputs' device never notices where it runs. Three mistakes show only on a GPU: a tensor made on
the CPU and mixed in, a value read back (`.item()`, `if loss > 0`), which stops the host until the GPU has caught up,
and a copy between the two. `lint` runs a function on a device that does not exist: tensors that carry shape, dtype
and device but no values (torch's FakeTensorMode), on a device type registered from Python. Every operation is watched
on its way.

    findings = lint(cross_entropy, build=lambda device: (torch.randn(4, 3), torch.randint(3, (4,))))
    assert not findings, findings

Registering the device type cannot be undone and can be done once in a process, so lint in a process of its own:
`python -m gradatim.gpu_lint FILE` reads `CASES = {name: (fn, build)}` from a Python file and prints
`{name: [finding, ...]}` as JSON; its exit status is 1 if anything was found.

What it cannot see: code behind a branch on the device type, operations that wait only for some values, and speed.
A `torch.Generator` of the device cannot be made: lint random code with `generator=None`.
"""

import json
import runpy
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import (
    DataDependentOutputException,
    DynamicOutputShapeException,
    FakeTensor,
    FakeTensorMode,
)
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

__all__ = [
    "Finding",
    "lint",
]

DEVICE = "fakegpu"

# Operations whose result, or its shape, must come back to the host before it can go on.
SYNCHRONIZING = {
    "_local_scalar_dense",
    "_unique2",
    "allclose",
    "bincount",
    "equal",
    "is_nonzero",
    "masked_select",
    "nonzero",
    "unique_consecutive",
    "unique_dim",
}
COPYING = {"_to_copy", "copy_"}


@dataclass(frozen=True)
class Finding:
    """One thing that would go wrong on a GPU.

    Args:
        kind: "sync", "transfer", "cpu-tensor" (made on the CPU), "device" (two devices in one operation) or "error".
        what: one sentence.
        where: file, line and source of the innermost caller outside torch.
    """

    kind: str
    what: str
    where: str

    def __str__(self) -> str:
        return f"{self.kind}: {self.what} ({self.where})"


def _caller() -> str:
    """The innermost frame that is neither torch's nor this file's."""
    frames = [f for f in traceback.extract_stack() if "/torch/" not in f.filename and f.filename != __file__]
    return (
        f"{frames[-1].filename}:{frames[-1].lineno} {frames[-1].line or ''}".strip() if frames else "unknown"
    )


def _tensors(*trees: Any) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(trees) if isinstance(leaf, Tensor)]


class _Watch(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Looks at every operation's devices before and after it runs."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.findings: list[Finding] = []

    def found(self, kind: str, what: str) -> None:
        finding = Finding(kind, what, _caller())
        if finding not in self.findings:
            self.findings.append(finding)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name = func.overloadpacket.__name__
        given = _tensors(args, kwargs)
        on_device = [t for t in given if t.device.type == DEVICE]
        on_cpu = [t for t in given if t.device.type == "cpu"]
        if name in SYNCHRONIZING and on_device:
            self.found("sync", f"{name} waits for the device")
        asked = kwargs.get("device")
        if asked is not None and torch.device(asked).type == DEVICE:
            _forget_values(given)
        result = func(*args, **kwargs)
        generators = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, torch.Generator)]
        if any(g.device.type == "cpu" for g in generators) and any(
            t.device.type == DEVICE for t in _tensors(result)
        ):
            self.found("device", f"{name} draws on the device with a CPU generator")
        if name in COPYING:
            self._check_copy(name, args, given, result)
        else:
            if on_device and on_cpu:
                self.found("cpu-tensor", f"{name} mixes a CPU tensor into the device's")
            made_on_cpu = [t for t in _tensors(result) if t.device.type == "cpu"]
            if made_on_cpu and not given:
                self.found(
                    "cpu-tensor", f"{name} makes a tensor of shape {tuple(made_on_cpu[0].shape)} on the CPU"
                )
        return result

    def _check_copy(self, name: str, args: Any, given: list[Tensor], result: Any) -> None:
        source = args[1] if name == "copy_" else args[0]
        if (
            isinstance(source, Tensor)
            and isinstance(result, Tensor)
            and source.device.type != result.device.type
        ):
            self.found(
                "transfer", f"a copy from {source.device.type} to {result.device.type} makes the host wait"
            )


def _forget_values(tensors: list[Tensor]) -> None:
    """A known constant moved to the device would be folded there, on a device that cannot hold it."""
    for tensor in tensors:
        if isinstance(tensor, FakeTensor):
            tensor.constant = None


_registered = False


def _register_device() -> None:
    global _registered
    if _registered:
        return
    try:
        from torch.utils.backend_registration import _setup_privateuseone_for_python_backend
    except ImportError as error:
        raise RuntimeError(
            f"gpu_lint: torch must be able to register a device from Python, got {torch.__version__}"
        ) from error
    _setup_privateuseone_for_python_backend(DEVICE)
    _registered = True


@contextmanager
def _values_stay_on_cpu() -> Iterator[None]:
    """Lets `torch.tensor(1.0, device=...)` build its value on the CPU first, as it does for a real GPU."""
    before = torch._C._only_lift_cpu_tensors()
    torch._C._set_only_lift_cpu_tensors(True)
    try:
        yield
    finally:
        torch._C._set_only_lift_cpu_tensors(before)


def lint(fn: Callable[..., object], build: Callable[[torch.device], tuple[Any, ...]]) -> list[Finding]:
    """Run `fn(*build(device))` on a device that does not exist and report what a real GPU would trip over.

    Args:
        fn: the code under test; its arguments are tensors, modules or optimizers on the device.
        build: makes the arguments. It runs with the device as torch's default, so plain `torch.randn(4)` is right,
            and what it does is not linted.

    Returns:
        The findings in the order in which they arise, empty if there are none. An exception ends the run and is
        the last finding.

    Raises:
        RuntimeError: this torch cannot register a device from Python.
    """
    _register_device()
    device = torch.device(DEVICE)
    watch = _Watch()
    with _values_stay_on_cpu(), FakeTensorMode():
        with (
            _Watch(),
            torch.device(device),
        ):  # this watch is not read: it only keeps constants from being folded
            arguments = build(device)
        try:
            with watch:
                fn(*arguments)
        except (DataDependentOutputException, DynamicOutputShapeException) as error:
            if not any(f.kind == "sync" for f in watch.findings):
                watch.findings.append(Finding("sync", f"{error} waits for the device", _raised_at(error)))
        except Exception as error:
            first_line = str(error).split("\n")[0]
            kind = "transfer" if ".numpy()" in first_line else "device" if "device" in first_line else "error"
            watch.findings.append(Finding(kind, f"{type(error).__name__}: {first_line}", _raised_at(error)))
    return watch.findings


def _raised_at(error: Exception) -> str:
    frames = [f for f in traceback.extract_tb(error.__traceback__) if "/torch/" not in f.filename]
    frames = [f for f in frames if f.filename != __file__]
    return (
        f"{frames[-1].filename}:{frames[-1].lineno} {frames[-1].line or ''}".strip() if frames else "unknown"
    )


def main(arguments: list[str]) -> int:
    """Lint every case of a file and print the findings as JSON."""
    if len(arguments) != 1:
        print("usage: python -m gradatim.gpu_lint FILE", file=sys.stderr)
        return 2
    cases = runpy.run_path(arguments[0])["CASES"]
    findings = {name: [asdict(f) for f in lint(fn, build)] for name, (fn, build) in cases.items()}
    print(json.dumps(findings, indent=1))
    return int(any(findings.values()))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
