"""What went wrong in a student's code, in words that are safe to show to the student."""

from __future__ import annotations

import builtins
import functools
import unicodedata

KINDS = ("raised", "timeout", "crashed", "memory", "missing", "unreadable", "forbidden")
MAX_MESSAGE = 500
REFUSED = "may not be used here: write it yourself"  # behind a forbidden name; the worker says it, wording.py reads it
_NOT_CATCHABLE_AS = {
    "StopIteration",
    "StopAsyncIteration",
    "Exception",
    "ExceptionGroup",
    "UnicodeDecodeError",
} | {*("UnicodeEncodeError", "UnicodeTranslateError")}
STANDARD = {
    name: value
    for name, value in vars(builtins).items()
    if isinstance(value, type)
    and issubclass(value, Exception)
    and not issubclass(value, Warning)
    and name not in _NOT_CATCHABLE_AS
}


class SandboxError(RuntimeError):
    """The sandbox itself could not do its work; no fault of any submission."""


class SandboxUnavailable(SandboxError):
    """This system cannot give the isolation that was asked for."""


class StudentFailure(Exception):
    """A student's code failed. `kind` is one of KINDS, `message` a bounded plain sentence.

    Where the student's exception is a standard one, the failure is an instance of that class too, so that
    `pytest.raises(ValueError)` works on a submission as on the reference.
    """

    kind = "raised"

    def __init__(self, kind: str, message: str):
        super().__init__(message)
        self.kind, self.message = kind, safe(message)
        self.args = (self.message,)

    def __str__(self) -> str:
        return self.message

    def __reduce__(self):
        return (failure, (self.kind, self.message, self.bases))

    bases: tuple[str, ...] = ()


def safe(text: str, limit: int = MAX_MESSAGE) -> str:
    """The text without control, formatting and unassigned characters, at most `limit` characters long."""
    text = str(text)[: 4 * limit]
    if len(text) <= limit and text.isascii() and text.isprintable():
        return text
    kept = "".join(
        " " if char in "\n\r\t" else char for char in text if char in "\n\r\t" or _is_printable(char)
    )
    return kept if len(kept) <= limit else kept[: limit - 3] + "..."


def _is_printable(character: str) -> bool:
    return not unicodedata.category(character).startswith("C")


def failure(kind: str, message: str, bases: tuple[str, ...] = ()) -> StudentFailure:
    """A StudentFailure that is also the first standard exception class named in `bases`."""
    for name in bases:
        if name in STANDARD:
            return _failure_class(name)(kind, message)
    return StudentFailure(kind, message)


@functools.cache
def _failure_class(name: str) -> type[StudentFailure]:
    return type(f"Student{name}", (StudentFailure, STANDARD[name]), {"bases": (name,)})
