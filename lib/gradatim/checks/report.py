"""What `check` returns: a text and an HTML table of the public cases, with the likely mistake beside a wrong one."""

import html
from dataclasses import dataclass, field
from typing import Any

import torch

MOST_ELEMENTS = 24  # a longer tensor is described by its shape
LONGEST = 160
LEFT = ' style="text-align:left"'  # in each cell: JupyterLab aligns those of a table to the right


@dataclass(frozen=True)
class CaseResult:
    """How one case ended, in texts.

    Args:
        call: what was called, or the name that was read.
        passed: whether it is right.
        expected: the right value.
        got: the student's.
        explanation: what is likely to be wrong.
        section: where the book explains it.
    """

    call: str
    passed: bool
    expected: str = ""
    got: str = ""
    explanation: str = ""
    section: str = ""


@dataclass(frozen=True)
class CheckResult:
    """How the public cases of an exercise ended; prints as text, shows as a table in a notebook.

    Attributes:
        exercise: its id.
        cases: one result per case that was run, in order.
        note: a sentence, where the cases could not be run at all.
        beyond: a sentence on what grading looks at besides these cases.
    """

    exercise: str
    cases: tuple[CaseResult, ...] = field(default=())
    note: str = ""
    beyond: str = ""

    @property
    def passed(self) -> bool:
        """True if there are cases and all are right."""
        return not self.note and bool(self.cases) and all(c.passed for c in self.cases)

    def __bool__(self) -> bool:
        return self.passed

    def summary(self) -> str:
        """One sentence."""
        if self.note:
            return self.note
        right = sum(c.passed for c in self.cases)
        if self.passed:
            passing = "the public case passes" if right == 1 else f"all {right} public cases pass"
            return f"{self.exercise}: {passing}. {self.beyond}".rstrip()
        return f"{self.exercise}: {right} of {len(self.cases)} public cases pass."

    def __str__(self) -> str:
        lines = [self.summary()]
        for c in self.cases:
            lines.append(f"  {'ok   ' if c.passed else 'WRONG'} {c.call}")
            if not c.passed:
                labelled = [("expected", c.expected), ("got", c.got), ("likely", c.explanation)]
                lines += [f"        {label:8} {text}" for label, text in labelled if text]
                if c.section:
                    lines.append(f"        see      {c.section}")
        return "\n".join(lines)

    __repr__ = __str__

    def _repr_html_(self) -> str:
        """A table for notebooks; every text is escaped, since part of it comes from the student's code."""
        sign = "&#10003;" if self.passed else "&#10007;"
        head = f"<p><strong>{sign} {html.escape(self.summary())}</strong></p>"
        rows = "".join(_row(c) for c in self.cases)
        if not rows:
            return head
        return (
            f'{head}<table><thead><tr><th scope="col"{LEFT}>result</th><th scope="col"{LEFT}>what was called, '
            f"and what came of it</th></tr></thead><tbody>{rows}</tbody></table>"
        )


def _row(c: CaseResult) -> str:
    lines = [f"<code>{html.escape(c.call)}</code>"]
    if not c.passed:
        if c.expected:
            lines.append(f"expected <code>{html.escape(c.expected)}</code>")
        if c.got:
            lines.append(f"got <code>{html.escape(c.got)}</code>")
        if c.explanation:
            lines.append(html.escape(c.explanation))
        if c.section:
            lines.append(f"See <code>{html.escape(c.section)}</code>.")
    return f"<tr><td{LEFT}>{'ok' if c.passed else 'wrong'}</td><td{LEFT}>{'<br>'.join(lines)}</td></tr>"


def shown(value: Any) -> str:
    """A short text for a value. Never calls code of the student's: foreign objects are named by their type."""
    if type(value) is torch.Tensor or type(value) is torch.nn.Parameter:
        return _shown_tensor(value)
    if value is None or type(value) in (bool, int):
        return _shortened(repr(value))
    if type(value) is float:
        return _number(value, 6)
    if type(value) is str:
        return _shortened(repr(value[:LONGEST]))
    if type(value) in (list, tuple):
        inner = ", ".join(shown(v) for v in value[:MOST_ELEMENTS]) + (
            ", ..." if len(value) > MOST_ELEMENTS else ""
        )
        return _shortened(f"[{inner}]" if type(value) is list else f"({inner})")
    if type(value) is dict:
        some = list(value.items())[:MOST_ELEMENTS]
        return _shortened("{" + ", ".join(f"{shown(k)}: {shown(v)}" for k, v in some) + "}")
    return _shortened(f"an object of type {type(value).__name__}")


def _shown_tensor(value: torch.Tensor) -> str:
    if value.numel() > MOST_ELEMENTS:
        return f"a tensor of shape {tuple(value.shape)}"
    try:
        text = _nested(value.detach().tolist())
    except Exception:  # a tensor without storage (meta, functional)
        return f"a tensor of shape {tuple(value.shape)}"
    kind = "" if value.dtype in (torch.float64, torch.int64, torch.bool) else f", {value.dtype}"
    return f"tensor({text}{kind})"


def _nested(value: Any) -> str:
    if isinstance(value, list):
        return "[" + ", ".join(_nested(v) for v in value) + "]"
    return _number(value, 5) if isinstance(value, float) else repr(value)


def _number(value: float, digits: int) -> str:
    """As torch prints it: `2.` and `0.5`, so that a float is told from an integer."""
    text = f"{value:.{digits}g}"
    return text if set(text) & set(".einf") else f"{text}."


def _shortened(text: str) -> str:
    return text if len(text) <= LONGEST else text[: LONGEST - 3] + "..."
