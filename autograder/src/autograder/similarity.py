"""Answers that resemble each other more than the class's answers do. A hint for a person to look at, never a proof.

Compared is the normal form (normal_form.py), without what everybody wrote: the given code, and each statement that a
good part of the class has too. What is left of a three-line standard answer is nothing, so it resembles nobody's.

Two steps keep a thousand submissions cheap. Answers with equal remainders are one group at once. The others are
compared only if their sketches (the least hashes of their token shingles) have a piece in common, by rapidfuzz's indel
similarity 2 * common / (tokens of a + tokens of b).

Source: Broder, "On the resemblance and containment of documents", 1997 (sketches of shingles).
"""

import importlib.util
import random
import statistics
import zlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cache
from itertools import combinations
from pathlib import Path
from typing import Any

from rapidfuzz.distance import Indel
from rapidfuzz.fuzz import ratio

from .normal_form import Statement, definitions, encoded, statements

#: A statement is everybody's when more than this share of the answers has it, and more answers than COMMON_LEAST.
COMMON_SHARE, COMMON_LEAST = 0.15, 4
#: Tokens that must be left of an answer for it to be compared: about six lines of one's own.
MIN_TOKENS = 60
#: Similarity that is never enough, and that always is.
FLOOR, CEILING = 0.80, 0.98
#: Above this median between any two answers the exercise leaves no room for difference, and nothing is listed.
ALIKE_BY_NATURE = 0.85
SHINGLE, SKETCH, MAX_BUCKET = 6, 24, 40
SAMPLED_PAIRS = 2_000
#: Nodes of a definition below which being equal to the library's means nothing.
MIN_NODES = 60
MAX_SOURCE = 60_000  # characters of one answer
MAX_PAIR_GROUP = 40  # larger groups are no pairs of students any more


@dataclass(frozen=True)
class Group:
    """Answers to one exercise that resemble each other; `similarity` is the weakest link that holds it together."""

    exercise: str
    students: tuple[str, ...]
    similarity: float
    tokens: int  # of the shortest, without what everybody wrote


@dataclass
class Similarity:
    """What was found in one assignment.

    Attributes:
        pairs: two students who are in a group together in at least two exercises: (names, exercises).
        library: answers in which a whole definition has the syntax tree of one of the library's.
        thresholds: the similarity from which answers were listed, by exercise; absent where too few could be compared.
    """

    groups: list[Group] = field(default_factory=list)
    pairs: list[dict[str, Any]] = field(default_factory=list)
    library: list[dict[str, str]] = field(default_factory=list)
    thresholds: dict[str, float] = field(default_factory=dict)
    compared: dict[str, int] = field(default_factory=dict)


class Answers:
    """Collects the answers of one assignment in their normal form, then compares them.

    Args:
        given: the code that students were given, by exercise.
    """

    def __init__(self, given: dict[str, str] | None = None) -> None:
        self.given = {e: set(statements(source)) for e, source in (given or {}).items()}
        self._answers: dict[str, dict[str, tuple[int, ...]]] = defaultdict(
            dict
        )  # exercise -> student -> forms
        self._forms: dict[Statement, int] = {}  # each statement once for the whole class
        self._library: list[dict[str, str]] = []

    def add(self, student: str, exercise: str, source: str) -> None:
        """Take in one answer; a second one of the same student to the same exercise is joined to the first."""
        source = source[:MAX_SOURCE]
        found = [s for s in statements(source) if s not in self.given.get(exercise, ())]
        numbers = tuple(self._forms.setdefault(s, len(self._forms)) for s in found)
        own = self._answers[exercise]
        own[student] = tuple(sorted((*own.get(student, ()), *numbers)))
        for definition in definitions(source):
            if definition.nodes >= MIN_NODES and (where := library_definitions().get(definition.digest)):
                entry = {
                    "student": student,
                    "exercise": exercise,
                    "defines": definition.name,
                    "equals": where,
                }
                if entry not in self._library:
                    self._library.append(entry)

    def compare(self) -> Similarity:
        out = Similarity(library=list(self._library))
        forms = list(self._forms)
        for exercise, own in self._answers.items():
            self._compare_exercise(exercise, own, forms, out)
        out.pairs = _pairs(out.groups)
        return out

    def _compare_exercise(
        self, exercise: str, own: dict[str, tuple[int, ...]], forms: list[Statement], out: Similarity
    ) -> None:
        counts = Counter(number for numbers in own.values() for number in set(numbers))
        common = {n for n, c in counts.items() if c > max(COMMON_LEAST, COMMON_SHARE * len(own))}
        same: dict[tuple[int, ...], list[str]] = defaultdict(list)
        for student, numbers in own.items():
            rest = tuple(n for n in numbers if n not in common)
            if sum(len(forms[n]) for n in rest) >= MIN_TOKENS:
                same[rest].append(student)
        out.compared[exercise] = sum(map(len, same.values()))
        remainders = [_Remainder([forms[n] for n in rest], students) for rest, students in same.items()]
        threshold = _threshold(remainders)
        if threshold is None:
            return
        out.thresholds[exercise] = round(threshold, 3)
        out.groups += _groups(exercise, remainders, threshold)


class _Remainder:
    """Equal answers, without what everybody wrote."""

    def __init__(self, own: list[Statement], students: list[str]) -> None:
        self.text, self.students = encoded(sorted(own)), students
        pieces = {
            zlib.crc32(text[k : k + SHINGLE].encode())
            for text in (encoded([s]) for s in own)
            for k in range(max(1, len(text) - SHINGLE + 1))
        }
        self.sketch = sorted(pieces)[:SKETCH]


def _threshold(remainders: Sequence[_Remainder]) -> float | None:
    """From which similarity on a pair stands out in this class; None where nothing can.

    It lies six robust standard deviations (1.4826 * median absolute deviation) above the class's median.
    """
    people = [r for r in remainders for _ in r.students]
    if len(people) < 2:
        return None
    chosen = random.Random(0)
    total = len(people) * (len(people) - 1) // 2
    if total <= SAMPLED_PAIRS:
        sample = list(combinations(people, 2))
    else:
        sample = [tuple(chosen.sample(people, 2)) for _ in range(SAMPLED_PAIRS)]  # type: ignore[misc]
    scores = [1.0 if a is b else Indel.normalized_similarity(a.text, b.text) for a, b in sample]
    middle = statistics.median(scores)
    if len(people) >= 6 and middle > ALIKE_BY_NATURE:
        return None
    if len(people) < 6:
        return (FLOOR + CEILING) / 2  # too few to know what is usual
    spread = 1.4826 * statistics.median(abs(s - middle) for s in scores)
    return min(CEILING, max(FLOOR, middle + 6 * spread))


def _groups(exercise: str, remainders: Sequence[_Remainder], threshold: float) -> list[Group]:
    buckets: dict[int, list[int]] = defaultdict(list)
    for k, remainder in enumerate(remainders):
        for piece in remainder.sketch:
            buckets[piece].append(k)
    candidates = {
        pair for found in buckets.values() if len(found) <= MAX_BUCKET for pair in combinations(found, 2)
    }
    parent = list(range(len(remainders)))

    def root(k: int) -> int:
        while parent[k] != k:
            parent[k] = k = parent[parent[k]]
        return k

    weakest = [1.0] * len(remainders)
    links = []
    for a, b in candidates:
        score = ratio(remainders[a].text, remainders[b].text, score_cutoff=100 * threshold) / 100
        if score >= threshold:
            links.append((score, a, b))
    for score, a, b in sorted(
        links, reverse=True
    ):  # the strongest links first: the weakest needed one counts
        first, second = root(a), root(b)
        if first != second:
            parent[second] = first
            weakest[first] = min(weakest[first], weakest[second], score)
    together: dict[int, list[int]] = defaultdict(list)
    for k in range(len(remainders)):
        together[root(k)].append(k)
    groups = []
    for top, members in together.items():
        students = tuple(sorted(s for k in members for s in remainders[k].students))
        if len(students) > 1:
            size = min(len(remainders[k].text) for k in members)
            groups.append(Group(exercise, students, round(weakest[top], 3), size))
    return sorted(groups, key=lambda g: (-g.similarity, -g.tokens, g.students))


def _pairs(groups: Iterable[Group]) -> list[dict[str, Any]]:
    shared: dict[tuple[str, str], list[str]] = defaultdict(list)
    for group in groups:
        if len(group.students) <= MAX_PAIR_GROUP:
            for pair in combinations(group.students, 2):
                shared[pair].append(group.exercise)
    found = [{"students": list(p), "exercises": sorted(e)} for p, e in shared.items() if len(e) > 1]
    return sorted(found, key=lambda f: (-len(f["exercises"]), f["students"]))


@cache
def library_definitions() -> dict[str, str]:
    """Where each definition of the library is, by the digest of its tree."""
    found: dict[str, str] = {}
    spec = importlib.util.find_spec("gradatim")
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        for path in sorted(Path(folder).rglob("*.py")):
            module = ".".join(path.relative_to(folder).with_suffix("").parts).removesuffix(".__init__")
            for definition in definitions(path.read_text(encoding="utf-8")):
                found.setdefault(definition.digest, f"gradatim.{module}.{definition.name}")
    return found
