"""The API pages: every public name of a module, from its docstrings.

`.. gradatim-module:: gradatim.optim` writes the module's docstring, a table of its `__all__`, and below it every
name in full, under the heading of the source file that holds it. Sphinx's autodoc, autosummary and napoleon do the
work. What stands here translates the library's docstrings, which are plain text, into reStructuredText: an indented
formula becomes a literal block, a name in `backticks` a link where it is public, and `**`, `|` and `g_` stay.
"""

import importlib
import inspect
import re
import sys
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import torch
from docutils import nodes
from docutils.statemachine import StringList
from sphinx.application import Sphinx
from sphinx.pycode import ModuleAnalyzer
from sphinx.util.docutils import SphinxDirective
from sphinx.util.nodes import nested_parse_with_titles

SECTION = re.compile(r"(Args|Returns|Raises|Yields|Attributes):$")
LABEL = re.compile(r"((?:Args|Returns|Raises|State|Sources?|Differs from the paper|Same numbers as)\b:?)(.*)")
BACKTICKS = re.compile(r"(``[^`]+``|`[^`]+`)")
# Methods that a rule supplies and `step` calls; `forward` runs when a module is called.
CALLED_BY_TORCH = {"forward", "extra_repr", "check", "state_names", "update", "update_in_place"}
MARKUP = re.compile(r"\\|\*|\||_(?![A-Za-z0-9_])")


# ---- docstrings ----------------------------------------------------------------------------------------------------


def prose(text: str, module: ModuleType | None) -> str:
    """A line of plain text as reStructuredText."""
    parts = BACKTICKS.split(text)
    for k, part in enumerate(parts):
        if k % 2 == 0:
            parts[k] = MARKUP.sub(r"\\\g<0>", part.replace("`", r"\`"))
            if k and part[:1].isalnum():  # `x`s: markup must not touch a letter
                parts[k] = "\\ " + parts[k]
            continue
        word = part.strip("`").strip()
        public = module is not None and word in module.__all__
        parts[k] = f":py:obj:`{word} <{module.__name__}.{word}>`" if public else f"``{word}``"
    return "".join(parts)


def indent_of(line: str) -> int:
    return len(line) - len(line.lstrip())


def translated(lines: list[str], module: ModuleType | None) -> Iterator[str]:
    """The lines of a docstring, dedented, as reStructuredText that napoleon reads."""
    k, base, text_indent = 0, 0, 0
    while k < len(lines):
        line, indent = lines[k], indent_of(lines[k])
        after_blank = k == 0 or not lines[k - 1].strip()
        if not line.strip():
            yield ""
            k += 1
        elif line.lstrip().startswith(">>>"):
            if not after_blank:
                yield ""
            while k < len(lines) and lines[k].strip():
                yield lines[k]
                k += 1
        elif indent == 0 and SECTION.match(line):
            if not after_blank:
                yield ""
            yield line
            base, text_indent, k = 4, 4, k + 1
        elif indent > text_indent and after_blank and k > 0:  # a formula
            block = []
            while k < len(lines) and (not lines[k].strip() or indent_of(lines[k]) > text_indent):
                block.append(lines[k])
                k += 1
            pad = " " * text_indent
            yield from (f"{pad}::", "", *("    " + b if b.strip() else "" for b in block), "")
        elif indent == 0:
            base = text_indent = 0
            label = LABEL.match(line)
            if label:
                if not after_blank:
                    yield ""
                yield f"**{label[1]}**{prose(label[2], module)}"
            else:
                yield prose(line, module)
            k += 1
        elif base == 0:  # a paragraph's line that hangs
            yield prose(line.strip(), module)
            k += 1
        else:
            text_indent = 4 if indent == 4 else 8
            name, colon, rest = line.partition(":")
            if indent == 4 and colon:
                yield f"{name}:{prose(rest, module)}"
            else:
                yield " " * indent + prose(line.strip(), module)
            k += 1


def public_home(name: str) -> ModuleType | None:
    """The public module on whose page `name` (as autodoc says it) is documented."""
    parts = name.split(".")
    for end in range(len(parts), 0, -1):
        try:
            module = importlib.import_module(".".join(parts[:end]))
        except ImportError:
            continue
        return module if hasattr(module, "__all__") else None
    return None


def process_docstring(app: Sphinx, what: str, name: str, thing: Any, options: Any, lines: list[str]) -> None:
    """Autodoc's event, before napoleon's."""
    lines[:] = list(translated(list(lines), public_home(name)))


def skip_member(app: Sphinx, what: str, name: str, thing: Any, skip: bool, options: Any) -> bool | None:
    """Leave out what a reader never calls: the fields of named tuples, and what torch calls."""
    if type(thing).__name__ == "_tuplegetter":
        return True
    if name in CALLED_BY_TORCH and inspect.isfunction(thing):
        owner = getattr(importlib.import_module(thing.__module__), thing.__qualname__.split(".")[0])
        return issubclass(owner, torch.nn.Module | torch.optim.Optimizer) or None
    return None


# ---- the directive -------------------------------------------------------------------------------------------------


def first_sentence(text: str) -> str:
    """What a heading can hold of a docstring: up to the first full stop or colon."""
    return re.split(r"[.:](?:\s|$)", text.strip().replace("\n", " "), maxsplit=1)[0]


def constants(package: ModuleType) -> dict[str, tuple[str, list[str]]]:
    """The documented names without a docstring of their own: name -> (module, the `#:` comment above it)."""
    found = {}
    inside = [name for name in sys.modules if f"{name}.".startswith(f"{package.__name__}.")]
    for module in sorted(inside):
        for (scope, name), text in ModuleAnalyzer.for_module(module).find_attr_docs().items():
            if not scope:
                found[name] = (module, [line for line in text if line])
    return found


class ModulePage(SphinxDirective):
    """See the module's docstring."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        package = importlib.import_module(self.arguments[0])
        self.env.note_dependency(__file__)
        section = nodes.section()
        section.document = self.state.document
        text = StringList(list(self.lines(package)), source=f"<{package.__name__}>")
        nested_parse_with_titles(self.state, text, section)
        return section.children

    def lines(self, package: ModuleType) -> Iterator[str]:
        yield from (f".. automodule:: {package.__name__}", "   :no-members:", "")
        yield from (".. rubric:: Contents", "", f".. currentmodule:: {package.__name__}", "")
        documented = constants(package)
        described = [name for name in package.__all__ if name not in documented]
        yield from (".. autosummary::", "   :nosignatures:", "", *(f"   {name}" for name in described), "")
        homes: dict[str, list[str]] = {}
        for name in package.__all__:
            home = documented[name][0] if name in documented else getattr(package, name).__module__
            homes.setdefault(home, []).append(name)
        for home, names in homes.items():
            module = importlib.import_module(home)
            if module is not package:
                title = prose(first_sentence(module.__doc__ or home), None)
                yield from (title, "-" * len(title), "")
            for name in names:
                yield from self.entry(package, name, documented)

    def entry(self, package: ModuleType, name: str, documented: dict) -> Iterator[str]:
        """One public name in full."""
        thing, full = getattr(package, name), f"{package.__name__}.{name}"
        if name in documented:
            comment = (prose(line, package) for line in documented[name][1])
            yield from (f".. py:data:: {name}", "", *(f"   {line}" for line in comment), "")
        elif inspect.isclass(thing):
            yield from (f".. autoclass:: {full}", "   :members:", "")
        else:
            yield from (f".. autofunction:: {full}", "")


def setup(app: Sphinx) -> dict[str, Any]:
    app.setup_extension("sphinx.ext.autodoc")
    app.setup_extension("sphinx.ext.autosummary")
    app.setup_extension("sphinx.ext.napoleon")
    app.add_directive("gradatim-module", ModulePage)
    app.connect("autodoc-process-docstring", process_docstring, priority=400)
    app.connect("autodoc-skip-member", skip_member)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
