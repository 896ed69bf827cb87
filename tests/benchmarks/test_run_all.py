"""An interrupted run goes on with the part it was in, and the page names when and on what its tables were taken."""

import importlib.util
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def runner(tmp_path, monkeypatch):
    """`run_all` over two small benchmarks: the first counts its runs, the second fails until a file exists."""
    spec = importlib.util.spec_from_file_location("run_all", ROOT / "benchmarks" / "run_all.py")
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "run_all", module)
    spec.loader.exec_module(module)
    (tmp_path / "benchmarks").mkdir()
    (tmp_path / "benchmarks" / "first.py").write_text("open('runs', 'a').write('x')\nprint('| 1.07 |')\n")
    (tmp_path / "benchmarks" / "second.py").write_text("open('mended')\nprint('| 0.93 |')\n")
    monkeypatch.setattr(module, "ROOT", tmp_path)
    monkeypatch.setattr(module, "KEPT", tmp_path / "_build" / "benchmarks")
    monkeypatch.setattr(module, "PAGE_DATA", tmp_path / "book" / "_data" / "page.md")
    monkeypatch.setattr(module, "PARTS", (module.Part("first", "First"), module.Part("second", "Second")))

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["run_all.py", *arguments])
        return module.main()

    return run


def test_a_run_that_broke_off_keeps_what_was_done_and_a_complete_one_begins_anew(runner, tmp_path, capsys):
    assert runner("--write") == 1
    assert "got failures in second" in capsys.readouterr().err
    assert not (tmp_path / "book").exists()
    (tmp_path / "mended").touch()
    assert runner("--write") == 0
    assert (tmp_path / "runs").read_text() == "x"
    page = (tmp_path / "book" / "_data" / "page.md").read_text()
    assert page.index("| 1.07 |") < page.index("## Second") < page.index("| 0.93 |")
    assert "torch 2." in page
    assert "`python benchmarks/first.py`" in page
    assert runner() == 0
    assert (tmp_path / "runs").read_text() == "xx"
