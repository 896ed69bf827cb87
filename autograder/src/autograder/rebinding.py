"""Names that an answer uses and a later cell gives another value.

The tests ask after all cells have run; the student checked an answer when only those above it had. Two answers may each
have a helper `_mean`, and a loop further down may call its variable `eps`. Such an answer is also tried with the cells
as far as its own, when it loses marks. Nothing is executed here.
"""

import ast
import functools
import symtable
from collections.abc import Iterable, Iterator, Sequence

from .cell_names import parse
from .recovery import PlannedCell


def rebound(cells: Sequence[PlannedCell], exercise: str, names: Iterable[str]) -> tuple[int, list[str]]:
    """Where the answer to an exercise ends, as a number of cells, and what of its names is bound anew below.

    Args:
        cells: in the order in which they run.
        names: what the exercise asks for; whoever defines one of them again means the answer itself.
    """
    asked = set(names)
    bound = [_names(cell.source)[0] for cell in cells]
    own = [
        number
        for number, cell in enumerate(cells)
        if (cell.origin == "answer" and cell.exercise == exercise) or bound[number] & asked
    ]
    if not own:
        return len(cells), []
    end = own[-1] + 1
    used: set[str] = set()
    for number in own:
        used |= _names(cells[number].source)[1]
    for number in reversed(range(own[-1])):  # what the answer calls may stand in the cells above it
        if bound[number] & used:
            used |= _names(cells[number].source)[1]
    return end, sorted((used - asked) & set().union(*bound[end:]))


@functools.lru_cache(maxsize=256)  # the course's own cells are the same in every notebook
def _names(source: str) -> tuple[frozenset[str], frozenset[str]]:
    """The notebook's names that a cell binds, and those that it looks up."""
    tree = parse(source)
    if tree is None:
        return frozenset(), frozenset()
    try:
        scopes = list(_scopes(symtable.symtable(ast.unparse(tree), "cell", "exec")))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return frozenset(), frozenset()
    bound: set[str] = set()
    used: set[str] = set()
    for scope in scopes:
        for symbol in scope.get_symbols():
            of_module = scope.get_type() == "module"
            if (of_module or symbol.is_declared_global()) and (symbol.is_assigned() or symbol.is_imported()):
                bound.add(symbol.get_name())
            if (of_module or symbol.is_global()) and symbol.is_referenced():
                used.add(symbol.get_name())
    return frozenset(bound), frozenset(used)


def _scopes(scope: symtable.SymbolTable) -> Iterator[symtable.SymbolTable]:
    yield scope
    for inner in scope.get_children():
        yield from _scopes(inner)
