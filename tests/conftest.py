"""One thread in every test: two threads on a busy two-core machine were ten times slower than one."""

import os
from pathlib import Path

for _name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[_name] = "1"

import pytest  # noqa: E402
import torch  # noqa: E402

torch.set_num_threads(1)


def pytest_itemcollected(item):
    """Keep a file's tests in one process: what its fixtures open (a sandbox, a session) is then opened once.

    All tests of the book go to one process: two would build the same pages. Marked as each test is collected, because
    xdist reads the marks before other hooks see the whole list.
    """
    if item.get_closest_marker("xdist_group") is None:
        of_the_book = Path(__file__).parent / "book" in item.path.parents
        item.add_marker(pytest.mark.xdist_group("book" if of_the_book else str(item.path)))
