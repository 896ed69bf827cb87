"""One thread in every test: two threads on a busy two-core machine were ten times slower than one."""

import os

for _name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[_name] = "1"

import pytest  # noqa: E402
import torch  # noqa: E402

torch.set_num_threads(1)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """Keep a file's tests in one process: what its fixtures open (a sandbox, a session) is then opened once.

    All tests of the book count as one file: two processes would build the same pages. (xdist 3.8's own groups are
    written into an attribute that pytest 9.2 does not read, so `--dist loadgroup` no longer groups anything.)
    """
    from xdist.scheduler import LoadScopeScheduling

    class ByFile(LoadScopeScheduling):
        def _split_scope(self, nodeid):
            path = nodeid.partition("::")[0]
            return "tests/book" if path.startswith("tests/book/") else path

    return ByFile(config, log)
