"""Random numbers: seed every generator at once, and save and restore where each of them stands."""

import os
import random
from typing import Any

import numpy as np
import torch
from torch import Generator

from .._check import checked, require, require_type, shown


@checked
def seed_everything(seed: int, *, deterministic: bool = False) -> None:
    """Seed Python's, NumPy's and torch's global generators, on every device.

    Equal seeds give equal runs on one machine and one version of torch. They do not on another device, another
    number of threads or another version: sums are taken in another order there. And one seed is one sample: it
    hides the spread.

    Args:
        seed: 0 <= seed < 2**32.
        deterministic: also make torch refuse operations whose result depends on timing (on a GPU, slower).

    Raises:
        ValueError: seed out of range.

    >>> seed_everything(3); first = torch.rand(2)
    >>> seed_everything(3); torch.equal(first, torch.rand(2))
    True
    """
    require(0 <= seed < 2**32, "seed_everything", "seed", "from 0 to 2**32 - 1", seed)
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002 - code that still uses the global generator is to be repeatable too
    torch.manual_seed(seed)
    if deterministic:
        os.environ.setdefault(
            "CUBLAS_WORKSPACE_CONFIG", ":4096:8"
        )  # read when the first cuBLAS handle is made
        torch.backends.cudnn.benchmark = False
        torch.use_deterministic_algorithms(True)


def mixed_seed(*numbers: int) -> int:
    """One 32-bit seed from several numbers: (seed, epoch) and (seed, epoch + 1) give unrelated streams.

    A torch CPU generator keeps 32 bits of its seed, so `seed + 2**32 * epoch` would give every epoch the same stream.

    Args:
        numbers: integers >= 0.

    Returns:
        A seed in 0 .. 2**32 - 1.
    """
    return int(np.random.SeedSequence(list(numbers)).generate_state(1)[0])


def rng_state() -> dict[str, Any]:
    """Where the global generators of Python, NumPy, torch and every CUDA device stand, in plain values and tensors.

    >>> state = rng_state(); first = torch.rand(2)
    >>> set_rng_state(state); torch.equal(first, torch.rand(2))
    True
    """
    legacy: Any = np.random.get_state(legacy=True)  # noqa: NPY002
    kind, keys, position, has_gauss, gauss = legacy
    return {
        "python": random.getstate(),
        "numpy": [
            str(kind),
            torch.from_numpy(keys.astype(np.int64)),
            int(position),
            int(has_gauss),
            float(gauss),
        ],
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else [],
    }


@checked
def set_rng_state(state: dict[str, Any]) -> None:
    """Put every global generator back to where `rng_state` found it.

    Args:
        state: what `rng_state` returned. CUDA's part is left out on a machine with another number of devices.

    Raises:
        TypeError: something else.
    """
    complete = isinstance(state, dict) and {"python", "numpy", "torch", "cuda"} <= set(state)
    require_type(complete, "set_rng_state", "state", "what rng_state() returned", shown(state))
    version, internal, gauss_next = state["python"]
    random.setstate((version, tuple(internal), gauss_next))
    kind, keys, position, has_gauss, gauss = state["numpy"]
    np.random.set_state((kind, keys.numpy().astype(np.uint32), position, has_gauss, gauss))  # noqa: NPY002
    torch.set_rng_state(state["torch"].cpu())
    if state["cuda"] and torch.cuda.device_count() == len(state["cuda"]):
        torch.cuda.set_rng_state_all([s.cpu() for s in state["cuda"]])


def generator_of(loader: object) -> Generator | None:
    """The private generator of a loader such as torch's DataLoader, if it has one."""
    generator = getattr(loader, "generator", None)
    return generator if isinstance(generator, Generator) else None
