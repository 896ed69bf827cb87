"""What a cell defines, from its syntax tree, or from its lines where it does not parse. Nothing is executed."""

import ast
import functools
import re
import unicodedata
import warnings

MAX_PARSED = 200_000  # characters; longer cells are searched line by line
MAX_REMEMBERED = 20_000
_DEFINITION = re.compile(
    r"^(?:async[ ]+def|def|class)[ ]+([A-Za-z_]\w*)|^([A-Za-z_]\w*)[ ]*(?::[^=\n]{0,200})?=(?!=)",
    re.MULTILINE,
)
_FENCE = re.compile(r"^[ ]{0,3}(?:```|~~~)[^\n]*\n(.*?)^[ ]{0,3}(?:```|~~~)[ ]*$", re.MULTILINE | re.DOTALL)
_CODE_START = re.compile(r"^(?:def|class|import|from|@|async def)[ ]?|^[A-Za-z_][\w., ]*=", re.MULTILINE)

_PLAIN = {"Zs": " ", "Cf": ""}  # Unicode's blanks, and its invisible marks


def without_magics(source: str) -> str:
    """Blank the lines that only IPython understands (%magic, !command, ?help), so that the rest parses as Python."""
    lines = source.split("\n")
    return "\n".join("" if line.lstrip()[:1] in ("%", "!", "?") else line for line in lines)


def parse(source: str, limit: int | None = MAX_PARSED) -> ast.Module | None:
    """The syntax tree, or None. Survives what breaks the parser: bad syntax, NUL characters, extreme nesting.

    Args:
        limit: characters of the longest source that is parsed; None parses all.
    """
    if limit is not None and len(source) > limit:
        return None
    return _remembered(source) if len(source) <= MAX_REMEMBERED else _parsed(source)


def _parsed(source: str) -> ast.Module | None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return ast.parse(without_magics(source))
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            return None


#: Recovery, every exercise's search for forbidden calls and the report ask for the same cells. A tree takes a hundred
#: times the memory of its source.
_remembered = functools.lru_cache(maxsize=32)(_parsed)


def with_plain_blanks(source: str) -> str:
    """Replace what nobody sees and Python does not read (a non-breaking space, a byte order mark), if that mends it."""
    if source.isascii() or parse(source) is not None:
        return source
    replaced = "".join(_PLAIN.get(unicodedata.category(c), c) for c in source)
    return source if parse(replaced) is None else replaced


def is_prose(source: str) -> bool:
    """Whether a code cell holds a text: what does not parse, comments or strings alone."""
    tree = parse(source)
    return tree is None or all(
        isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) for node in tree.body
    )


def defined_names(source: str) -> set[str]:
    """Names that the cell binds at its top level: functions, classes, assignments, `import ... as` excluded."""
    tree = parse(source)
    if tree is None:
        return {m[1] or m[2] for m in _DEFINITION.finditer(source)}
    names: set[str] = set()
    for node in _top_level(tree.body):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Assign):
            for target in node.targets:
                names |= {n.id for n in ast.walk(target) if isinstance(n, ast.Name)}
        elif isinstance(node, ast.AnnAssign) and node.value is not None and isinstance(node.target, ast.Name):
            names.add(node.target.id)
    return names


def _top_level(body: list[ast.stmt]) -> list[ast.stmt]:
    """Statements that run in the cell's own scope, those inside if, with, try and for included."""
    found, waiting = [], list(body)
    while waiting:
        node = waiting.pop()
        found.append(node)
        for name in ("body", "orelse", "finalbody"):
            if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                waiting += getattr(node, name, [])
        for handler in getattr(node, "handlers", []):
            waiting += handler.body
    return found


def code_in_markdown(text: str) -> str:
    """The code in a text cell: its fenced blocks if it has any, else all of it."""
    if len(text) > MAX_PARSED:
        return text
    blocks = _FENCE.findall(text)
    return "\n".join(blocks) if blocks else text


def looks_like_code(text: str) -> bool:
    """Whether a text cell holds Python: it has a definition or an assignment, and parses."""
    return bool(_CODE_START.search(text)) and parse(text) is not None
