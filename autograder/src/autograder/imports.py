"""Imports of many modules at once, without the collector that would look through them again and again."""

import contextlib
import gc
from collections.abc import Iterator


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
