"""Whether an answer may have changed what the other answers use: torch's functions, modules, the interpreter.

A hint only, from the syntax tree. It costs the others of that notebook a second grading, in a process of their own.
"""

import ast

from .cell_names import parse

#: Names, wherever they stand, of what reaches beyond an answer's own objects.
_REACHING = {
    *("setattr", "delattr", "exec", "eval", "globals", "vars", "locals", "gc", "ctypes", "builtins"),
    *("modules", "_getframe", "__globals__", "__dict__", "__code__", "__builtins__", "user_ns", "threading"),
    *("settrace", "setprofile", "addaudithook", "importlib", "__import__", "get_ipython", "patch"),
}
_SETTINGS = {"environ", "rcParams"}  # that notebooks change, and no answer depends on


def meddles(source: str) -> bool:
    """Whether the cell assigns to a part of an imported module or names a way to reach one."""
    return meddling_line(source) is not None


def meddling_line(source: str) -> int | None:
    """The number of the first line that does, from 1."""
    tree = parse(source)
    if tree is None:
        return None
    imported = {"torch", "F", "nn", "np", "math"}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            imported |= {(alias.asname or alias.name).split(".")[0] for alias in node.names}
    return min((getattr(n, "lineno", 1) for n in ast.walk(tree) if _reaches(n, imported)), default=None)


def _reaches(node: ast.AST, imported: set[str]) -> bool:
    if isinstance(node, ast.Name):
        return node.id in _REACHING
    if isinstance(node, ast.alias):
        return bool(_REACHING & set(node.name.split(".")))
    if not isinstance(node, ast.Attribute | ast.Subscript):
        return False
    if isinstance(node, ast.Attribute) and node.attr in _REACHING:
        return True
    if isinstance(node.ctx, ast.Load):
        return False
    owner: ast.AST = node
    while isinstance(owner, ast.Attribute | ast.Subscript):
        if isinstance(owner, ast.Attribute) and owner.attr in _SETTINGS:
            return False
        owner = owner.value
    return isinstance(owner, ast.Name) and owner.id in imported
