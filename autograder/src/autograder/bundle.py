"""One archive for students: the notebooks, the library with its public checks, and what to install.

It holds the released notebooks, made anew from their sources, and `lib/`. No solution and no hidden test is in it.
"""

import io
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path

import nbformat

from .assignment import Assignment, AssignmentError
from .release import exercise_points, notebook_bytes, source_notebook, student_notebook
from .store import write_whole

REQUIREMENTS = ("torch", "numpy", "matplotlib", "scikit-learn", "jupyterlab")
_DATE = (2020, 1, 1, 0, 0, 0)
_TEXT = """1. Install Python 3.11 or newer, then in this folder:
       python -m pip install -r requirements.txt
       python -m pip install ./lib
2. jupyter lab {first}
3. Write each answer in the cell that says so, run it, then run the check cell below it.
4. Hand in the .ipynb file.
"""


def write_bundle(assignments: Iterable[Assignment], output: Path) -> Path:
    """Write the archive; the same sources give the same bytes."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for path, content in _contents(list(assignments)):
            info = zipfile.ZipInfo(path, _DATE)
            info.create_system, info.external_attr, info.compress_type = (
                3,
                0o100644 << 16,
                zipfile.ZIP_DEFLATED,
            )
            archive.writestr(info, content)
    write_whole(output, out.getvalue())
    output.chmod(0o644)
    return output


def _contents(assignments: list[Assignment]) -> Iterator[tuple[str, bytes]]:
    import gradatim

    yield "README.txt", _TEXT.format(first=f"{assignments[0].name}.ipynb").encode()
    library = Path(str(gradatim.__file__)).resolve().parent
    root = library.parent.parent
    if not (library.parent / "pyproject.toml").is_file() or not (root / "requirements.lock").is_file():
        raise AssignmentError(
            f"{library}: the bundle is made from a checkout; install lib/ with `make course`"
        )
    pins = [line for line in (root / "requirements.lock").read_text().splitlines() if "==" in line]
    yield (
        "requirements.txt",
        "".join(f"{p}\n" for p in pins if p.split("==")[0].lower() in REQUIREMENTS).encode(),
    )
    for assignment in assignments:
        notebook = student_notebook(source_notebook(assignment, exercise_points(assignment)))
        nbformat.validate(notebook)
        yield f"{assignment.name}.ipynb", notebook_bytes(notebook)
    yield "lib/pyproject.toml", (library.parent / "pyproject.toml").read_bytes()
    for path in sorted(library.rglob("*")):
        parts = path.relative_to(library).parts
        if path.is_file() and not any(p == "__pycache__" or p.startswith(".") for p in parts):
            yield "lib/gradatim/" + "/".join(parts), path.read_bytes()
