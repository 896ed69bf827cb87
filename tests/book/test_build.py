"""The build is strict, and one sentence says what is wrong: page, and cell or line."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CELLS = "---\nfile_format: mystnb\nkernelspec:\n  name: python3\n  display_name: Python 3\n---\n# Page\n\n"

pytestmark = pytest.mark.slow


def cell(code):
    return f"```{{code-cell}} python\n{code}\n```\n\n"


@pytest.fixture
def project(tmp_path):
    """A book of one page with this project's configuration and build script."""
    (tmp_path / "tools").mkdir()
    shutil.copy(ROOT / "tools" / "build_book.py", tmp_path / "tools")
    shutil.copy(ROOT / "_config.yml", tmp_path)
    (tmp_path / "_toc.yml").write_text("format: jb-book\nroot: book/index\n")
    (tmp_path / "book").mkdir()
    for part in ("_static", "_ext"):
        shutil.copytree(ROOT / "book" / part, tmp_path / "book" / part)
    (tmp_path / "book" / "references.bib").touch()

    def build(page):
        (tmp_path / "book" / "index.md").write_text(page, encoding="utf-8")
        command = [sys.executable, str(tmp_path / "tools" / "build_book.py")]
        return subprocess.run(command, capture_output=True, text=True, encoding="utf-8", errors="replace")

    return build


def test_build_names_the_page_and_cell_that_failed_and_fails_again_and_recovers(project):
    broken = CELLS + cell("x = 1") + cell("y = 2\nraise ValueError('the reason')")
    sentence = "book: book/index.md: the code cell at line 14 must run without an error, got ValueError: the reason\n"
    for _ in range(2):  # Sphinx alone would be silent the second time
        built = project(broken)
        assert built.returncode == 1
        assert built.stderr == sentence
    assert project(CELLS + cell("x = 1")).returncode == 0


@pytest.mark.parametrize(
    ("page", "complaint"),
    [
        ("# Page\n\nSee [there](missing.md).\n", "book/index.md:3: must build without a warning"),
        ("# Page\n\nSee [there](#nowhere).\n", "book/index.md:3: must build without a warning"),
        ("# Page\n\n{cite:p}`nobody1900`\n", "nobody1900"),
        (CELLS + cell("import warnings\nwarnings.warn('old')"), "book/index.md"),
    ],
    ids=["missing page", "missing anchor", "missing reference", "warning in a cell"],
)
def test_build_fails_on_a_warning_and_says_where(project, page, complaint):
    built = project(page)
    assert built.returncode == 1
    assert complaint in built.stderr
    assert built.stderr.startswith("book: ")
    assert built.stderr.count("\n") == 1


def test_build_asks_for_the_notebook_that_is_not_released_yet(project, tmp_path):
    (tmp_path / "_toc.yml").write_text(
        "format: jb-book\nroot: book/index\nchapters:\n  - file: book/exercises/losses\n"
    )
    built = project("# Page\n")
    assert built.returncode == 1
    assert built.stderr == (
        "book: book/exercises/losses.ipynb must exist, got no such file: run `make release` first\n"
    )
