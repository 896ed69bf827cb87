"""Whether an answer may have changed what the other answers use: torch's functions, modules, the interpreter.

A hint only, from the syntax tree. It costs the others of that notebook a second grading, in a process of their own.
"""

import ast
from collections.abc import Iterator

from .cell_names import parse

#: Names, wherever they stand, of what reaches beyond an answer's own objects.
_REACHING = {
    *("setattr", "delattr", "exec", "eval", "globals", "vars", "locals", "gc", "ctypes", "builtins"),
    *("modules", "_getframe", "__globals__", "__dict__", "__code__", "__builtins__", "user_ns", "threading"),
    *("settrace", "setprofile", "addaudithook", "importlib", "__import__", "get_ipython", "patch"),
}
#: Names of what stays switched on, or comes back later. Nothing to suspect anybody for.
_LASTING = _REACHING | {
    *("__enter__", "enter_context", "signal", "setitimer", "faulthandler", "resource", "prlimit", "atexit"),
    *(
        "_thread",
        "concurrent",
        "meta_path",
        "path_hooks",
        "path_importer_cache",
        "weakref",
        "setrecursionlimit",
    ),
    *("setitem", "__setattr__", "__delattr__", "__setitem__", "_C", "library", "setswitchinterval"),
}
_SETTINGS = {"environ", "rcParams"}  # that notebooks change, and no answer depends on


def meddles(source: str) -> bool:
    """Whether the cell assigns to a part of an imported module, names a way to reach one, or leaves something on."""
    return next(_meddling(source, _LASTING), None) is not None


def meddling_line(source: str) -> int | None:
    """The number of the first line that assigns to a part of an imported module or names a way to reach one, from 1."""
    return min((getattr(node, "lineno", 1) for node in _meddling(source, _REACHING)), default=None)


def _meddling(source: str, reaching: set[str]) -> Iterator[ast.AST]:
    tree = parse(source)
    if tree is None:
        return
    imported = {"torch", "F", "nn", "np", "math"}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            imported |= {(alias.asname or alias.name).split(".")[0] for alias in node.names}
    for node in ast.walk(tree):
        if _reaches(node, imported, reaching):
            yield node


def _reaches(node: ast.AST, imported: set[str], reaching: set[str]) -> bool:
    if isinstance(node, ast.Name):
        return node.id in reaching
    if isinstance(node, ast.alias):
        return bool(reaching & set(node.name.split(".")))
    if isinstance(node, ast.ImportFrom):
        return bool(reaching & set((node.module or "").split(".")))
    if not isinstance(node, ast.Attribute | ast.Subscript):
        return False
    if isinstance(node, ast.Attribute) and node.attr in reaching:
        return True
    if isinstance(node.ctx, ast.Load):
        return False
    owner: ast.AST = node
    while isinstance(owner, ast.Attribute | ast.Subscript):
        if isinstance(owner, ast.Attribute) and owner.attr in _SETTINGS:
            return False
        owner = owner.value
    return isinstance(owner, ast.Name) and owner.id in imported
