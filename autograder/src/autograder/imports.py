"""Imports of many modules at once, without what makes them slow and nobody here needs."""

import contextlib
import gc
import sys
from collections.abc import Iterator

#: jsonschema imports it to check international addresses, and it builds a parser from their grammar: over a second.
NOT_NEEDED = "rfc3987_syntax"


@contextlib.contextmanager
def lean_imports() -> Iterator[None]:
    """Have modules imported in the block do without NOT_NEEDED, as where it is not installed."""
    block = NOT_NEEDED not in sys.modules
    if block:
        sys.modules[NOT_NEEDED] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        if block:
            sys.modules.pop(NOT_NEEDED, None)


@contextlib.contextmanager
def uncollected() -> Iterator[None]:
    """Import modules in the block without garbage collection, and spare them from every later one.

    Torch and what comes with it make 700,000 objects that stay. Looking for garbage among them takes a sixth of the
    time of importing them.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()
