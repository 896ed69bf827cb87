"""The normal form of an answer: what stays of its text when a copyist has done the easy changes.

Comments, docstrings, annotations, imports and the names that the answer itself chose are gone; statements are a bag, so
their order does not count. Nothing is executed.
"""

import ast
import hashlib
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

from .cell_names import parse

Statement = tuple[str, ...]
_WORD = re.compile(r"[A-Za-z_]\w*|\d+(?:\.\d+)?|[^\s\w]")
_BLOCKS = ("body", "orelse", "finalbody", "handlers", "cases")
_BOUND = "v"


def statements(source: str) -> list[Statement]:
    """The statements of a cell as tokens, compound ones by their first line. Any text gives some list."""
    tree = parse(source)
    if tree is not None:
        try:
            names = _Names(tree)
            return [tuple(names.tokens(node)) for node in _flat(tree.body) if _counts(node)]
        except RecursionError:
            pass
    lines = (tuple(_WORD.findall(line.split("#")[0])) for line in source[:100_000].splitlines())
    return [line for line in lines if line]


def encoded(found: list[Statement]) -> str:
    """One character a token, statements sorted: a string that edit distances can be computed on."""
    return "".join(chr(0x4E00 + zlib.crc32(t.encode("utf-8", "replace")) % 20_000) for s in found for t in s)


def _flat(body: list[ast.stmt]) -> Iterator[ast.AST]:
    waiting: list[ast.AST] = list(reversed(body))
    while waiting:
        node = waiting.pop()
        yield node
        for name in reversed(_BLOCKS):
            waiting += reversed(getattr(node, name, None) or [])


def _counts(node: ast.AST) -> bool:
    """Not what says nothing: imports, pass, docstrings."""
    if isinstance(node, ast.Import | ast.ImportFrom | ast.Pass | ast.Global | ast.Nonlocal):
        return False
    return not (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant))


class _Names:
    """Which names a cell chose by itself, and what its imported names stand for."""

    def __init__(self, tree: ast.AST) -> None:
        self.bound: set[str] = set()
        self.attributes: set[str] = set()
        self.imported: dict[str, str] = {}
        for node in ast.walk(tree):
            if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                self.bound.add(node.id)
            elif isinstance(node, ast.arg):
                self.bound.add(node.arg)
            elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                self.bound.add(node.name)
                self.attributes.add(node.name)
            elif isinstance(node, ast.ExceptHandler) and node.name:
                self.bound.add(node.name)
            elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
                self.attributes.add(node.attr)
            elif isinstance(node, ast.Import | ast.ImportFrom):
                for alias in node.names:
                    self.imported[alias.asname or alias.name] = alias.name

    def tokens(self, node: ast.AST) -> Iterator[str]:
        """Tokens of one statement, without the statements in it."""
        if isinstance(node, ast.Name):
            yield _BOUND if node.id in self.bound else self.imported.get(node.id, node.id)
            return
        if isinstance(node, ast.Constant):
            yield "text" if isinstance(node.value, str | bytes) else repr(node.value)[:40]
            return
        if isinstance(node, ast.arg):
            yield _BOUND
            return
        if isinstance(node, ast.expr_context):
            return
        yield "Assign" if isinstance(node, ast.AnnAssign) else type(node).__name__
        if isinstance(node, ast.keyword):
            yield _BOUND if node.arg in self.bound else str(node.arg)
        for name, value in ast.iter_fields(node):
            if name in _BLOCKS or name in ("annotation", "returns", "type_comment", "simple", "type_params"):
                continue
            if name == "attr":
                yield _BOUND if value in self.attributes else f".{value}"
            for part in value if isinstance(value, list) else [value]:
                if isinstance(part, ast.AST):
                    yield from self.tokens(part)


# Whole definitions, for the comparison with the library


@dataclass(frozen=True)
class Definition:
    """A function or class: its name, the digest of its tree with names in order of appearance, its number of nodes."""

    name: str
    digest: str
    nodes: int


def definitions(source: str) -> list[Definition]:
    """The functions and classes of a source, methods included."""
    tree = parse(source)
    found = []
    for node in ast.walk(tree) if tree is not None else ():
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            try:
                tokens = list(_in_order(node))
            except RecursionError:
                continue
            digest = hashlib.sha256("\0".join(tokens).encode("utf-8", "replace")).hexdigest()
            found.append(Definition(node.name, digest, len(tokens)))
    return found


#: Fields in which a copy may differ. The library's decorators check arguments; a copied body comes without them.
_SAYS_NOTHING = (
    *("annotation", "returns", "type_comment", "simple", "ctx", "kind", "type_params"),
    "decorator_list",
)


def _in_order(root: ast.AST) -> Iterator[str]:
    """Tokens of a tree; each name it binds stands as the number of its first appearance."""
    names = _Names(root)
    numbers: dict[str, str] = {}

    def number(name: str) -> str:
        return numbers.setdefault(name, f"v{len(numbers)}")

    def walk(node: ast.AST) -> Iterator[str]:
        if isinstance(node, ast.Name):
            yield number(node.id) if node.id in names.bound else node.id
            return
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            return  # a docstring
        yield "(" + ("Assign" if isinstance(node, ast.AnnAssign) else type(node).__name__)
        for field, value in ast.iter_fields(node):
            if field in _SAYS_NOTHING:
                continue
            if isinstance(node, ast.FunctionDef | ast.ClassDef | ast.arg) and field in ("name", "arg"):
                yield number(value)
            elif isinstance(value, list):
                for part in value:
                    if isinstance(part, ast.AST):
                        yield from walk(part)
            elif isinstance(value, ast.AST):
                yield from walk(value)
            elif isinstance(node, ast.Constant) and isinstance(value, str):
                yield "text"
            elif value is not None:
                yield number(value) if field == "arg" and value in names.bound else repr(value)[:200]
        yield ")"

    yield from walk(root)
