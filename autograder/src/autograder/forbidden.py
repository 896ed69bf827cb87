"""Forbidden calls, judged from the syntax tree on the trusted side.

An exercise that asks for cross-entropy forbids `torch.nn.functional.cross_entropy`. Only code that the answer can
reach counts: a student may compare with torch in a cell of their own. Reached is what the exercise's names refer to,
directly or through other definitions of the notebook: functions, classes, assignments, imports.

What the tree cannot decide (a name built at run time) is left to the worker's hook, which refuses the call itself.
"""

import ast
import contextlib
import functools
import symtable
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import lru_cache
from types import ModuleType
from typing import Any

import torch

from .cell_names import parse

#: Ways to reach a function without writing its name. In code that an answer reaches they cannot be judged.
OPAQUE = {"eval", "exec", "compile", "__import__", "globals", "importlib", "builtins", "__builtins__"}
OPAQUE_ENDINGS = (".__dict__", "sys.modules", "gc.get_objects", "gc.get_referrers")
#: Attributes, of anything, that lead to functions which are not written out.
OPAQUE_ATTRIBUTES = {"__globals__", "__subclasses__", "_getframe"}
OPAQUE_ATTRIBUTES |= {"_execution_engine", "_engine_run_backward"}
#: Parts of torch that hold its functions under other names, or switch the worker's hook off.
OPAQUE_BEGINNINGS = ("torch._", "torch.ops.", "torch.overrides.", "torch.library.")

#: Names that notebooks use without importing them again, should a setup cell be missing.
WELL_KNOWN = {"torch": "torch", "F": "torch.nn.functional", "nn": "torch.nn", "np": "numpy"}


@dataclass(frozen=True)
class Finding:
    """A forbidden use: what is used, and where in the student's code."""

    name: str  # the forbidden dotted name, or the opaque way to reach one
    line: str  # the source line, as the student wrote it
    opaque: bool = False

    def sentence(self) -> str:
        if self.opaque:
            return f"`{self.line}` uses {self.name}, which hides what is called; write the call plainly"
        return f"`{self.line}` uses {self.name}, which is not allowed in this exercise"


@dataclass
class _Module:
    """The definitions of all cells together, by name; one name may be defined several times."""

    definitions: dict[str, list[ast.AST]] = field(default_factory=dict)
    imports: dict[str, set[str]] = field(default_factory=dict)  # local name -> dotted names it may stand for
    lines: dict[int, str] = field(default_factory=dict)  # id(node) -> source line
    aliases: dict[str, list[ast.expr]] = field(default_factory=dict)  # within the statement being judged


def find_forbidden(sources: Iterable[str], names: Iterable[str], forbid: Iterable[str]) -> list[Finding]:
    """Return every forbidden use in the code that `names` reach.

    Args:
        sources: the code cells, in any order; cells that do not parse are passed over (they did not run either).
        names: what the exercise asks the student to define.
        forbid: dotted names, such as `torch.nn.functional.cross_entropy`.
    """
    forbidden = set(forbid)
    if not forbidden:
        return []
    module = _read(tuple(sources))
    findings: list[Finding] = []
    seen: set[str] = set()
    pending = list(names)
    while pending:
        name = pending.pop()
        if name in seen:
            continue
        seen.add(name)
        for node in module.definitions.get(name, []):
            findings += _judge(node, module, forbidden)
            pending += _notebook_names(node)
        # `from torch.nn.functional import cross_entropy` alone would answer `cross_entropy`
        for dotted in module.imports.get(name, ()):
            if found := _same_thing(dotted, forbidden):
                findings.append(Finding(found, f"import {dotted}"))
    return list(dict.fromkeys(findings))


def _notebook_names(statement: ast.AST) -> set[str]:
    """The names in a statement that are looked up in the notebook: parameters and locals of its functions are not.

    A student may compare with torch elsewhere, `loss = F.cross_entropy(...)`, and call a variable of the answer `loss`.
    """
    try:
        pending = [symtable.symtable(ast.unparse(statement), "cell", "exec")]
    except (SyntaxError, ValueError, RecursionError, MemoryError):  # cannot be decided: every name counts
        return {n.id for n in ast.walk(statement) if isinstance(n, ast.Name)}
    names: set[str] = set()
    while pending:
        scope = pending.pop()
        inside_function = scope.get_type() == "function"
        names |= {s.get_name() for s in scope.get_symbols() if s.is_global() or not inside_function}
        pending += scope.get_children()
    return names


@functools.lru_cache(maxsize=1)  # every exercise of a submission asks for the same cells
def _read(sources: tuple[str, ...]) -> _Module:
    module = _Module({}, {k: {v} for k, v in WELL_KNOWN.items()}, {})
    for source in sources:
        tree = _parse(source)
        if tree is None:
            continue
        lines = source.splitlines()
        for node in ast.walk(tree):
            number = getattr(node, "lineno", 0)
            if 0 < number <= len(lines):
                module.lines[id(node)] = lines[number - 1].strip()[:120]
            for local, dotted in _imported(node):
                module.imports.setdefault(local, set()).add(dotted)
        _collect(tree.body, module)
    return module


def _parse(source: str) -> ast.Module | None:
    """The syntax tree of a cell, IPython's own syntax (`files = !ls`, `torch.exp?`) included. None if it cannot run."""
    if (tree := parse(source, limit=None)) is not None:
        return tree
    with warnings.catch_warnings(), contextlib.suppress(SyntaxError, ValueError, RecursionError, MemoryError):
        warnings.simplefilter("ignore")
        return ast.parse(_as_ipython_reads(source))
    return None


def _as_ipython_reads(source: str) -> str:
    from IPython.core.inputtransformer2 import TransformerManager  # slow to import, and seldom needed

    first, _, rest = source.lstrip().partition("\n")
    return TransformerManager().transform_cell(rest if first.startswith("%%") else source)


def _imported(node: ast.AST) -> Iterator[tuple[str, str]]:
    if isinstance(node, ast.Import):
        for alias in node.names:
            yield (
                (alias.asname or alias.name.split(".")[0]),
                (alias.name if alias.asname else alias.name.split(".")[0]),
            )
    elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
        for alias in node.names:
            yield (alias.asname or alias.name), f"{node.module}.{alias.name}"


def _collect(body: list[ast.stmt], module: _Module) -> None:
    """File every top-level statement under the names it binds or changes, blocks included."""
    for statement in body:
        if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            bound = {statement.name}
        elif isinstance(statement, ast.If | ast.Try | ast.With | ast.For | ast.While | ast.Match):
            for block in _blocks(statement):
                _collect(block, module)
            continue
        else:
            bound = {_root(t) for t in ast.walk(statement) if _is_binding(t)} - {""}
        for name in bound:
            module.definitions.setdefault(name, []).append(statement)


def _blocks(statement: ast.stmt) -> Iterator[list[ast.stmt]]:
    for name in ("body", "orelse", "finalbody"):
        yield getattr(statement, name, [])
    for part in getattr(statement, "handlers", []) + getattr(statement, "cases", []):
        yield part.body


def _is_binding(node: ast.AST) -> bool:
    return isinstance(getattr(node, "ctx", None), ast.Store)


def _root(node: ast.AST) -> str:
    """`a` of `a`, `a.b.c` and `a[0].b`."""
    while isinstance(node, ast.Attribute | ast.Subscript | ast.Starred):
        node = node.value
    return node.id if isinstance(node, ast.Name) else ""


def _judge(node: ast.AST, module: _Module, forbidden: set[str]) -> Iterator[Finding]:
    module = replace(module, aliases=_aliases(node))
    methods = {name.rpartition(".")[2]: name for name in forbidden if name.startswith("torch.Tensor.")}
    for part in ast.walk(node):
        line = module.lines.get(id(part), "")
        if isinstance(part, ast.Attribute) and part.attr in methods and not _is_binding(part):
            yield Finding(methods[part.attr], line)  # whatever it is a method of: types are not known here
        elif isinstance(part, ast.Attribute) and part.attr in OPAQUE_ATTRIBUTES:
            yield Finding(part.attr, line, opaque=True)
        elif isinstance(part, ast.Attribute | ast.Name) and not _is_binding(part):
            for dotted in _dotted(part, module):
                if name := _same_thing(dotted, forbidden):
                    yield Finding(name, line)
                elif _is_opaque(dotted) and _root(part) not in module.definitions:
                    yield Finding(dotted, line, opaque=True)
        elif isinstance(part, ast.Call):
            yield from _judge_getattr(part, module, forbidden, line)
        elif isinstance(part, ast.ImportFrom | ast.Import):
            for _, dotted in _imported(part):
                if dotted in forbidden or _is_opaque(dotted):
                    yield Finding(dotted, line, opaque=dotted not in forbidden)


def _aliases(statement: ast.AST) -> dict[str, list[ast.expr]]:
    """The other names that a statement gives to names inside it: `G = F` in a function, `def f(x, G=F)`."""
    found: dict[str, list[ast.expr]] = {}
    for part in ast.walk(statement):
        pairs: list[tuple[ast.AST, ast.expr | None]] = []
        if isinstance(part, ast.Assign):
            pairs = [(target, part.value) for target in part.targets]
        elif isinstance(part, ast.AnnAssign | ast.NamedExpr):
            pairs = [(part.target, part.value)]
        elif isinstance(part, ast.arguments):
            positional = [*part.posonlyargs, *part.args]
            defaults = zip(positional[len(positional) - len(part.defaults) :], part.defaults, strict=True)
            pairs = [*defaults, *zip(part.kwonlyargs, part.kw_defaults, strict=True)]
        for target, value in pairs:
            name = target.arg if isinstance(target, ast.arg) else getattr(target, "id", None)
            while isinstance(value, ast.NamedExpr):
                value = value.value
            if name is not None and isinstance(value, ast.Name | ast.Attribute):
                found.setdefault(name, []).append(value)
    return found


def _is_opaque(dotted: str) -> bool:
    if dotted.split(".")[0] in OPAQUE or dotted.endswith(OPAQUE_ENDINGS):
        return True
    if not dotted.startswith(OPAQUE_BEGINNINGS) or dotted.startswith("torch.__"):
        return False
    public = vars(torch).get(dotted.rpartition(".")[2])  # an editor imports `device` from torch._C
    return public is None or public is not _resolve(dotted)


def _same_thing(dotted: str, forbidden: set[str]) -> str | None:
    """The forbidden name that `dotted` is, also by another path: torch.nn.modules.loss.F.cross_entropy."""
    if dotted in forbidden:
        return dotted
    if not dotted.startswith("torch.") or (found := _resolve(dotted)) is None:
        return None
    return next((name for name in sorted(forbidden) if _resolve(name) is found), None)


@lru_cache(maxsize=4096)
def _resolve(dotted: str) -> Any:
    """The function or class that a dotted name of torch stands for here; None for anything else."""
    found: Any = torch
    for part in dotted.split(".")[1:]:
        if not isinstance(found, ModuleType | type):
            return None
        found = found.__dict__.get(part)
    return found if callable(found) else None


def _judge_getattr(call: ast.Call, module: _Module, forbidden: set[str], line: str) -> Iterator[Finding]:
    """getattr(F, "cross_entropy"), getattr(F, "cross" + "_entropy") and vars(F)["cross_entropy"]."""
    if not isinstance(call.func, ast.Name) or call.func.id not in ("getattr", "vars") or not call.args:
        return
    owners = set(_dotted(call.args[0], module))
    owners_matter = any(f.startswith(f"{owner}.") for owner in owners for f in forbidden)
    if call.func.id == "vars":
        if owners_matter:
            yield Finding("vars", line, opaque=True)
        return
    attribute = _constant_text(call.args[1]) if len(call.args) > 1 else None
    if attribute is None:
        if owners_matter:
            yield Finding("getattr with a name made at run time", line, opaque=True)
        return
    for owner in owners:
        if name := _same_thing(f"{owner}.{attribute}", forbidden):
            yield Finding(name, line)


def _constant_text(node: ast.AST) -> str | None:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        left, right = _constant_text(node.left), _constant_text(node.right)
        return None if left is None or right is None else left + right
    if isinstance(node, ast.JoinedStr) and all(isinstance(v, ast.Constant) for v in node.values):
        return "".join(str(v.value) for v in node.values if isinstance(v, ast.Constant))
    return None


def _dotted(node: ast.AST, module: _Module, depth: int = 0) -> Iterator[str]:
    """Every dotted name that an attribute chain may stand for, with imports and plain aliases resolved."""
    if isinstance(node, ast.Attribute):
        for owner in _dotted(node.value, module, depth):
            yield f"{owner}.{node.attr}"
    elif isinstance(node, ast.Name):
        yield node.id
        yield from module.imports.get(node.id, ())
        if depth < 8:  # `G = F; G.cross_entropy`
            for statement in module.definitions.get(node.id, []):
                if isinstance(statement, ast.Assign | ast.AnnAssign) and isinstance(
                    statement.value, ast.Name | ast.Attribute
                ):
                    yield from _dotted(statement.value, module, depth + 1)
            for value in module.aliases.get(node.id, []):
                yield from _dotted(value, module, depth + 1)
