"""What a sandbox may use: its tier, limits, and the explicit list of paths and modules."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import sys
import sysconfig
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .failure import SandboxError

MIB = 1 << 20
GIB = 1 << 30
PRELOAD = ("numpy", "torch", "torch.nn.functional", "torch.optim", "torch._dynamo", "torch.utils.data")
PRELOAD_IF_PRESENT = (
    *("matplotlib.pyplot", "matplotlib_inline.backend_inline", "sklearn.datasets", "sklearn.model_selection"),
    *("sklearn.preprocessing", "tqdm"),
)
# Directories of a Linux system without which no dynamically linked library loads, and fonts and time zones.
SYSTEM_PATHS = (
    *(
        "/usr/lib",
        "/usr/lib64",
        "/usr/lib32",
        "/lib",
        "/lib64",
        "/lib32",
        "/usr/share/fonts",
        "/usr/share/zoneinfo",
    ),
    *("/etc/ld.so.cache", "/etc/localtime", "/etc/fonts", "/etc/alternatives"),
)
COURSE_DISTRIBUTIONS = ("gradatim", "gradatim-autograder")
COURSE_PACKAGES = ("gradatim", "autograder")


@dataclass(frozen=True)
class SandboxConfig:
    """How student code is run.

    Args:
        tier: "namespaces", "landlock" or "none"; None takes the strongest that works here.
        minimum: the weakest tier to accept. Where it is not available, SandboxUnavailable is raised.
        unsafe: must be True for tier "none", which isolates nothing.
        course_modules: gradatim's modules that students may import, with all that they import from gradatim, by
            name. Any other module of the course is absent from the sandbox.
        preload, preload_if_present: modules imported once, before the first submission.
        bind: further files or directories that students may read, at their own paths.
        hide: paths that must not be seen although they lie within a bound one.
        memory_bytes: address space that a submission may use beyond torch's own.
        scratch_bytes: size of its temporary directory (in the landlock tier: of one file).
        cpu_seconds: processor time in all, the last resort behind the deadlines.
        threads: threads and processes of one submission.
        interrupt_grace: seconds between the deadline's SIGINT and SIGKILL.
        seed: start of the random generators of a submission's process.
    """

    tier: str | None = None
    minimum: str = "landlock"
    unsafe: bool = False
    course_modules: tuple[str, ...] = ()
    # What is imported early changes no verdict: no part of `repr`, which verdicts are kept under.
    preload: tuple[str, ...] = field(default=PRELOAD, repr=False)
    preload_if_present: tuple[str, ...] = field(default=PRELOAD_IF_PRESENT, repr=False)
    bind: tuple[str, ...] = ()
    hide: tuple[str, ...] = ()
    memory_bytes: int = 4 * GIB
    scratch_bytes: int = 64 * MIB
    cpu_seconds: int = 900
    threads: int = 64
    interrupt_grace: float = 0.5
    seed: int = 0

    def for_zygote(self, tier: str, python: bool = True) -> dict[str, Any]:
        """The configuration as the zygote reads it. `python` False leaves out everything but the isolation."""
        import_path = import_directories()
        bind = [*SYSTEM_PATHS, *python_paths(), *import_path, *self.bind]
        return {
            "tier": tier,
            "python": python,
            "bind": bind,
            "hide": [path for path in (*course_paths(), *self.hide) if _lies_in(path, bind)],
            "import_path": import_path,
            "preload": list(self.preload),
            "preload_if_present": list(self.preload_if_present),
            "course_modules": course_sources(self.course_modules) if python else {},
            "scratch_bytes": self.scratch_bytes,
            "seed": self.seed,
            "environment": environment("/scratch"),
        }

    def resource_limits(self, address_space: int, tasks: int = 0) -> dict[str, int]:
        """RLIMIT values for a worker of a zygote of that address space, whose user has so many tasks already."""
        return {
            "AS": address_space + self.memory_bytes,
            "DATA": address_space + self.memory_bytes,  # whatever the grader's own is at the moment
            "CPU": self.cpu_seconds,
            "FSIZE": self.scratch_bytes,
            "NOFILE": 256,
            "NPROC": self.threads + (tasks and tasks + 256),
            "STACK": 64 * MIB,
            "CORE": 0,
            "MEMLOCK": 0,
            "MSGQUEUE": 0,
        }


def environment(directory: str) -> dict[str, str]:
    """A worker's whole environment: nothing of the grader's own goes in."""
    return {
        "HOME": f"{directory}/work",
        "TMPDIR": directory,
        "MPLCONFIGDIR": f"{directory}/matplotlib",
        "IPYTHONDIR": f"{directory}/ipython",
        "MPLBACKEND": "module://matplotlib_inline.backend_inline",
        "PATH": "/usr/bin:/bin",
        "LANG": "C.UTF-8",
        "OMP_NUM_THREADS": "1",
        "MKL_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
        "PYTHONHASHSEED": "0",  # the order of a set must not differ between two gradings
        "PYTHONDONTWRITEBYTECODE": "1",
    }


def python_paths() -> list[str]:
    """The interpreter's own libraries."""
    base = sys.base_prefix
    own = [base] if base not in ("/usr", "/") else []
    return [
        *own,
        *(sysconfig.get_path(name) for name in ("stdlib", "platstdlib")),
        os.path.dirname(os.__file__),
    ]


def import_directories() -> list[str]:
    """The directories that hold the installed packages, without those that an editable install adds."""
    found = [sysconfig.get_path("purelib"), sysconfig.get_path("platlib")]
    for name in ("torch", "numpy", "IPython", "matplotlib", "sklearn"):
        spec = importlib.util.find_spec(name)
        if spec is not None and spec.origin:
            found.append(str(Path(spec.origin).parent.parent))
    return [path for path in dict.fromkeys(found) if path and os.path.isdir(path)]


def course_paths() -> list[str]:
    """The course's own packages and their installation records, wherever they are."""
    paths = []
    for name in COURSE_PACKAGES:
        spec = importlib.util.find_spec(name)
        paths += list(spec.submodule_search_locations or ()) if spec else []
    for name in COURSE_DISTRIBUTIONS:
        try:
            distribution = importlib.metadata.distribution(name)
        except importlib.metadata.PackageNotFoundError:
            continue
        for file in distribution.files or ():
            located = Path(str(distribution.locate_file(file)))
            if located.parent.suffix == ".dist-info":
                paths.append(str(located.parent))
            elif located.suffix == ".pth":
                paths.append(str(located))
    return list(dict.fromkeys(os.path.abspath(path) for path in paths))


def _lies_in(path: str, directories: list[str]) -> bool:
    return any(path.startswith(directory.rstrip("/") + "/") for directory in directories)


def course_sources(names: tuple[str, ...]) -> dict[str, dict[str, Any]]:
    """The sources of the named modules and of the packages they lie in, for the zygote to import from memory.

    A package named explicitly comes whole; one that merely contains a named module comes empty.
    """
    sources: dict[str, dict[str, Any]] = {}
    for name in names:
        parts = name.split(".")
        for length in range(1, len(parts)):
            sources.setdefault(".".join(parts[:length]), {"source": "", "package": True})
        spec = importlib.util.find_spec(name)
        if spec is None or not spec.origin:
            raise SandboxError(f"SandboxConfig: course_modules must name installed modules, got {name!r}")
        origin = Path(spec.origin)
        sources[name] = {"source": origin.read_text("utf-8"), "package": origin.name == "__init__.py"}
        if origin.name == "__init__.py":
            for inner in sorted(origin.parent.rglob("*.py")):
                relative = inner.relative_to(origin.parent).with_suffix("").parts
                if relative[-1] == "__init__":
                    relative = relative[:-1]
                full = ".".join((name, *relative))
                if relative and "gradatim.checks" not in full:
                    sources[full] = {
                        "source": inner.read_text("utf-8"),
                        "package": inner.name == "__init__.py",
                    }
    return sources
