"""Quick imports leave the collector, and what others may import, as they were found."""

import gc
import importlib
import subprocess
import sys

import pytest

from autograder.imports import NOT_NEEDED, lean_imports, uncollected


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


def test_what_is_not_needed_is_absent_in_the_block_alone(monkeypatch):
    monkeypatch.delitem(sys.modules, NOT_NEEDED, raising=False)
    with lean_imports(), pytest.raises(ModuleNotFoundError):
        importlib.import_module(NOT_NEEDED)
    assert NOT_NEEDED not in sys.modules
    monkeypatch.setitem(sys.modules, NOT_NEEDED, gc)
    with lean_imports():
        assert importlib.import_module(NOT_NEEDED) is gc


@pytest.mark.slow
def test_grading_starts_without_the_grammar_of_addresses():
    code = f"import autograder.preloaded, jsonschema, sys; print({NOT_NEEDED!r} in sys.modules)"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "False"
