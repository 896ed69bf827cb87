"""What the package is made of: a light import, and a wheel whose declared dependencies are all it needs."""

import ast
import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SOURCES = sorted((ROOT / "lib" / "gradatim").rglob("*.py"))
DECLARED = {"torch", "numpy"}
# What is imported where it is used, and the sentence that a user without it sees.
OPTIONAL = {"matplotlib", "sklearn", "scipy", "optuna", "tensorboard", "IPython"}
EVERY_MODULE = """
import importlib, pkgutil, sys
import gradatim
for found in pkgutil.walk_packages(gradatim.__path__, "gradatim."):
    importlib.import_module(found.name)
"""


def imports(tree):
    """Every import statement of a module: (top-level package, whether it runs on import)."""
    lazy = {
        child
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        or (isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test))
        for child in ast.walk(node)
    }
    for node in ast.walk(tree):
        at_once = node not in lazy
        if isinstance(node, ast.Import):
            yield from ((alias.name.split(".")[0], at_once) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield node.module.split(".")[0], at_once


def test_importing_every_module_needs_only_what_is_declared():
    found = {(name, at_once) for path in SOURCES for name, at_once in imports(ast.parse(path.read_text()))}
    foreign = {
        (name, at_once) for name, at_once in found if name not in sys.stdlib_module_names | {"gradatim"}
    }
    assert {name for name, at_once in foreign if at_once} == DECLARED
    assert {name for name, at_once in foreign if not at_once} - DECLARED <= OPTIONAL


def test_import_gradatim_loads_nothing_heavy():
    heavy = "torch", "matplotlib", "sklearn", "scipy", "pandas", "IPython"
    code = f"import gradatim, sys; print([name for name in {heavy} if name in sys.modules])"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"


def test_no_module_loads_an_optional_package_on_import():
    names = sorted(OPTIONAL - {"tensorboard"})
    code = f"{EVERY_MODULE}\nprint([name for name in {names} if name in sys.modules])"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"


@pytest.mark.parametrize(
    ("package", "call", "sentence"),
    [
        ("sklearn", "data.load('iris')", "load: scikit-learn must be installed (pip install scikit-learn)"),
        (
            "optuna",
            "search.Study(search.Space({'x': search.Uniform(0, 1)}), search.OptunaSampler('tpe')).run(float, trials=1)",
            "OptunaSampler: optuna must be installed (pip install optuna)",
        ),
    ],
)
def test_a_missing_optional_package_is_named_in_one_sentence(package, call, sentence):
    code = (
        f"import sys; sys.modules[{package!r}] = None\n"
        "from gradatim import data, plotting, search\n"
        f"try: {call}\nexcept ImportError as error: print(error)"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == sentence


@pytest.mark.parametrize("package", ["lib", "autograder"])
def test_a_package_carries_the_licence_of_the_repository(package):
    """A build sees its own folder alone, so each has a copy."""
    project = tomllib.loads((ROOT / package / "pyproject.toml").read_text())["project"]
    assert (project["license"], project["license-files"]) == ("MIT", ["LICENSE"])
    assert (ROOT / package / "LICENSE").read_text() == (ROOT / "LICENSE").read_text()


def test_what_is_optional_is_offered_by_name():
    project = tomllib.loads((ROOT / "lib" / "pyproject.toml").read_text())["project"]
    offered = {one for group in project["optional-dependencies"].values() for one in group}
    names = {re.split(r"[<>=]", one)[0] for one in offered}
    assert {"matplotlib", "scikit-learn", "optuna", "tensorboard"} <= names


@pytest.mark.slow
def test_the_wheel_holds_every_module_and_declares_what_it_needs(tmp_path):
    build = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--quiet"]
    subprocess.run([*build, "--wheel-dir", tmp_path, ROOT / "lib"], check=True, cwd=tmp_path)
    (wheel,) = tmp_path.glob("gradatim-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        (metadata,) = (archive.read(name).decode() for name in names if name.endswith("/METADATA"))
    assert {path.relative_to(ROOT / "lib").as_posix() for path in SOURCES} <= names
    assert {"gradatim/py.typed", "gradatim/plotting/moving.js"} <= names
    assert [name.split("/", 1)[1] for name in names if "LICENSE" in name] == ["licenses/LICENSE"]
    assert {"License-Expression: MIT", "License-File: LICENSE"} <= set(metadata.splitlines())
    needed = [line for line in metadata.splitlines() if line.startswith("Requires-Dist:")]
    assert {line.split()[1].split(">")[0] for line in needed if "extra ==" not in line} == DECLARED
    assert not [name for name in names if name.startswith("test") or "/test" in name or "solution" in name]

    # From the wheel alone: the checkout's own package is not on the path.
    target = tmp_path / "site"
    install = [sys.executable, "-m", "pip", "install", "--no-deps", "--quiet", "--target", target, wheel]
    subprocess.run(install, check=True)
    code = f"import sys; sys.path.insert(0, {str(target)!r})\n{EVERY_MODULE}\nprint(gradatim.__file__)"
    where = subprocess.check_output([sys.executable, "-I", "-c", code], text=True, cwd=tmp_path)
    assert Path(where.strip()).is_relative_to(target)
