"""Read JSON that may be cut off, damaged or hostile, in time and memory linear in its length.

The standard parser answers "not JSON" to a file with one flipped bit, recurses into deep nesting and builds every
value. This one never fails: it returns what it could read and says what it had to skip. It relies on one fact: a JSON
string holds no raw line break, so a string that is not closed ends at its line's end and the damage stays there.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from json.decoder import JSONDecodeError, scanstring
from typing import Any, NamedTuple

# Possessive quantifiers: no backtracking, so no text takes more than linear time.
_TOKEN = re.compile(
    r"""[ \t\r\n,:]*+(?:
        (?P<string>"(?:[^"\\\r\n]|\\[^\r\n])*+")
      | (?P<open>[\[{])
      | (?P<close>[\]}])
      | (?P<number>-?[0-9][0-9.eE+\-]*+)
      | (?P<word>-?[A-Za-z_][A-Za-z_0-9]*+)
      | (?P<broken>"[^\r\n]*+)
      | (?P<garbage>[^ \t\r\n,:\[\]{}"]++)
    )""",
    re.VERBOSE,
)
_SKIP = re.compile(  # to the next bracket, over all strings before it
    r'(?:[^"\[\]{}]++|"(?:[^"\\\r\n]|\\[^\r\n])*+")*+(?:(?P<bracket>[\[\]{}])|(?P<broken>"))'
)
_WORDS = {"true": True, "false": False, "null": None, "NaN": None, "Infinity": None, "-Infinity": None}
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f"}
_MISSING = object()
_MAX_BAD_SPOTS = 2_000  # more is no damaged notebook but something else
_MAX_STRING = 6 << 20  # characters of a string token that are decoded
_MAX_STACK = 20_000


class Passed(NamedTuple):
    """A value that was passed over, as the part of the text that it is."""

    start: int
    end: int


@dataclass
class Salvage:
    """What was read. `cut` holds the ids of the containers that the text ended in the middle of."""

    root: Any = None
    problems: list[str] = field(default_factory=list)
    cut: set[int] = field(default_factory=set)
    marked: list[dict[str, Any]] = field(default_factory=list)  # objects that have the marker key, in order
    bad_spots: int = 0
    exhausted: bool = False  # a cap stopped the reading

    @property
    def damaged(self) -> bool:
        return bool(self.bad_spots or self.cut or self.exhausted)


class _Builder:
    """Puts tokens together. A stack, no recursion: nesting costs memory only up to `max_depth`."""

    def __init__(self, max_depth: int, marker: str) -> None:
        self.out = Salvage()
        self.max_depth, self.marker = max_depth, marker
        self.stack: list[Any] = []
        self.keys: list[Any] = []  # of each open container: the key that waits for its value
        self.started = False
        self.too_deep = False

    def bad(self) -> None:
        self.out.bad_spots += 1

    def put(self, value: Any) -> None:
        """Attach a finished or newly opened value to the container on top."""
        if not self.stack:
            if self.started:
                self.bad()  # a second value after the first
            else:
                self.out.root, self.started = value, True
            return
        top = self.stack[-1]
        if isinstance(top, list):
            top.append(value)
        elif self.keys[-1] is _MISSING:
            self.bad()  # a value without a key
        else:
            key = self.keys[-1]
            self.keys[-1] = _MISSING
            if key == self.marker and key not in top:
                self.out.marked.append(top)
            top[key] = value

    def string(self, value: str) -> None:
        if self.stack and isinstance(self.stack[-1], dict) and self.keys[-1] is _MISSING:
            self.keys[-1] = value
        else:
            self.put(value)

    def open(self, bracket: str) -> None:
        if len(self.stack) >= _MAX_STACK:
            self.too_deep = True
            self.bad()
            return
        value: Any = {} if bracket == "{" else []
        if len(self.stack) < self.max_depth:
            self.put(value)
        else:
            self.too_deep = True  # parsed, so that its end is found, but hung nowhere
            if self.stack and isinstance(self.stack[-1], dict):
                self.keys[-1] = _MISSING
        self.stack.append(value)
        self.keys.append(_MISSING)

    def close(self, bracket: str) -> None:
        kind = dict if bracket == "}" else list
        for back in range(1, min(len(self.stack), 8) + 1):
            if isinstance(self.stack[-back], kind):
                if back > 1:
                    self.bad()  # brackets between were not closed
                del self.stack[-back:], self.keys[-back:]
                return
        self.bad()


def _unescape(token: str) -> str:
    """Decode a string token; a wrong escape is kept as it stands."""
    if len(token) > _MAX_STRING:
        return token[1:_MAX_STRING]  # longer than any cell may be: the reader refuses it by its length
    try:
        return scanstring(token, 1, False)[0]
    except (JSONDecodeError, IndexError):
        body = token[1:-1] if len(token) > 1 and token.endswith('"') else token[1:]
        return re.sub(r"\\(.)", lambda m: _ESCAPES.get(m[1], m[1] if m[1] in '"\\/' else m[0]), body)


def _number(token: str) -> int | float | None:
    if len(token) > 40:
        return None
    try:
        return int(token)
    except ValueError:
        try:
            return float(token)
        except ValueError:
            return None


def _skip_value(text: str, start: int, max_brackets: int) -> tuple[int, int]:
    """Return (where the bracketed value at `start` ends, brackets passed); (-1, brackets) if its end is not found."""
    depth = brackets = 0
    position = start
    while brackets < max_brackets:
        match = _SKIP.match(text, position)
        if match is None or match["broken"]:
            return -1, brackets
        brackets += 1
        position = match.end()
        depth += 1 if match["bracket"] in "[{" else -1
        if depth == 0:
            return position, brackets
    return -1, brackets


def salvage(
    text: str,
    *,
    skip_keys: Iterable[str] = (),
    marker: str = "",
    max_depth: int = 64,
    max_tokens: int = 600_000,
    max_skipped: int = 5_000_000,
) -> Salvage:
    """Read `text`, never raising.

    Args:
        skip_keys: keys whose bracketed values are not built (notebook outputs); a `Passed` stands for each.
        marker: objects with this key are also listed in `marked`, wherever the damage has hung them.
        max_depth: deeper values are dropped.
        max_tokens: reading stops there and says so.
        max_skipped: brackets in passed-over values, after which no value is passed over.
    """
    skip = frozenset(skip_keys)
    build = _Builder(max_depth, marker)
    position, tokens, may_skip = 0, 0, True
    finished = False
    while tokens < max_tokens and build.out.bad_spots < _MAX_BAD_SPOTS:
        match = _TOKEN.match(text, position)
        if match is None:
            finished = True
            break
        tokens += 1
        kind, token, position = match.lastgroup, match[match.lastgroup or 0], match.end()
        if kind == "string":
            build.string(_unescape(token))
        elif kind == "open":
            if may_skip and build.keys and build.keys[-1] in skip:
                end, passed = _skip_value(text, position - 1, max_skipped)
                max_skipped -= passed
                if end >= 0:
                    build.put(Passed(position - 1, end))
                    position = end
                    continue
                may_skip = False  # damage inside: read it token by token, and never skip again (linear time)
            build.open(token)
        elif kind == "close":
            build.close(token)
        elif kind == "number":
            build.put(_number(token))
        elif kind == "word" and token in _WORDS:
            build.put(_WORDS[token])
        else:
            build.bad()
            if kind == "broken" and position < len(text):  # else cut off: half a string is no value
                build.string(_unescape(token.rstrip().removesuffix(",")))
    return _finish(build, exhausted=not finished)


def _finish(build: _Builder, *, exhausted: bool) -> Salvage:
    out = build.out
    out.exhausted = exhausted
    out.cut = {id(container) for container in build.stack}
    if exhausted:
        out.problems.append("Reading stopped at a limit: the file holds too many values or too much damage.")
    elif build.stack:
        out.problems.append("The file ends in the middle (it was cut off).")
    if out.bad_spots:
        spots = "1 place" if out.bad_spots == 1 else f"{out.bad_spots} places"
        out.problems.append(f"The file is damaged in {spots}; what could be read was read.")
    if build.too_deep:
        out.problems.append("Values nested too deeply were left out.")
    return out
