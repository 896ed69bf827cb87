"""Importing without garbage collection leaves the collector as it was found."""

import gc
import subprocess
import sys

import pytest

from autograder.imports import uncollected


def test_nothing_is_collected_meanwhile_and_all_is_again_afterwards():
    before = gc.get_freeze_count()
    with uncollected():
        assert not gc.isenabled()
        kept = [[] for _ in range(1000)]
    assert gc.isenabled()
    assert gc.get_freeze_count() >= before + len(kept)
    gc.unfreeze()


def test_an_import_that_fails_leaves_the_collector_on():
    with pytest.raises(ModuleNotFoundError), uncollected():
        import no_such_module  # noqa: F401
    assert gc.isenabled()
    gc.unfreeze()


@pytest.mark.slow
def test_grading_processes_start_with_everything_imported():
    code = (
        "import autograder.preloaded, gc, sys; assert gc.isenabled(); print('torch._dynamo' in sys.modules)"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "True"
