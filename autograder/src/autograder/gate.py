"""The mutation gate: proof that an exercise's tests know right from wrong.

For every exercise: the solution and each alternative earn every point, the untouched stub earns none, every planted
wrong answer loses marks in a test that is meant for it, and every hidden test catches at least one of them.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from .assignment import Assignment, AssignmentError, Variant
from .forbidden import find_forbidden
from .release import load_template
from .session import Outcome, Session
from .solution import answer_source, solution_cells, variant_student
from .testing import input_seed

MIN_MUTANTS = 6
MIN_ALTERNATIVES = 2
#: Each proof is repeated with these secrets: a verdict must not hang on the luck of the inputs.
SECRETS = (b"gate-1", b"gate-2", b"gate-3")


@dataclass(frozen=True)
class Proof:
    """What the gate found for one exercise. `faults` is empty when everything holds."""

    exercise: str
    faults: tuple[str, ...]
    mutants: int
    alternatives: int
    kills: dict[str, tuple[str, ...]]  # test -> the mutants it catches in every run


def prove(session: Session, exercise_id: str, secrets: Sequence[bytes] = SECRETS) -> Proof:
    """Run the gate on one exercise of a collected session."""
    assignment = session.assignment
    answer = answer_source(assignment, exercise_id)
    mutants, alternatives = assignment.mutants(exercise_id), assignment.alternatives(exercise_id)
    faults = [
        f"{kind} must be at least {least}, got {len(found)}"
        for kind, found, least in (
            ("mutants", mutants, MIN_MUTANTS),
            ("alternatives", alternatives, MIN_ALTERNATIVES),
        )
        if len(found) < least
    ]
    faults += _must_pass(session, exercise_id, "the solution", answer, secrets)
    for alternative in alternatives:
        source = alternative.apply(answer)
        faults += _must_pass(session, exercise_id, f"alternative {alternative.name}", source, secrets)
    faults += _is_allowed(assignment, exercise_id, answer)
    faults += _stub_fails(session, exercise_id, secrets[0])
    kills: dict[str, list[str]] = {t.name: [] for t in session.tests[exercise_id]}
    for mutant in mutants:
        faults += _mutant_dies(session, mutant, mutant.apply(answer), secrets, kills)
    faults += [f"{test} catches no mutant in every run" for test, names in kills.items() if not names]
    return Proof(
        exercise_id,
        tuple(faults),
        len(mutants),
        len(alternatives),
        {test: tuple(names) for test, names in kills.items()},
    )


def run_variant(session: Session, exercise_id: str, source: str, secret: bytes) -> list[Outcome]:
    """The outcomes of an exercise's tests on an answer of our own, run in this process."""
    try:
        student = variant_student(session.assignment, exercise_id, source)
    except AssignmentError:
        raise
    except Exception as err:  # a mutant that does not even run is a fault of the course
        raise AssignmentError(f"{exercise_id}: the answer cell raised {type(err).__name__}: {err}") from err
    return session.run(
        exercise_id, student, lambda test: input_seed(secret, "gate", test), stop_when_fatal=False
    )


def _must_pass(
    session: Session, exercise_id: str, who: str, source: str, secrets: Sequence[bytes]
) -> Iterator[str]:
    for secret in secrets:
        for o in run_variant(session, exercise_id, source, secret):
            if o.status != "passed":
                yield f"{who} fails {o.name} with secret {secret!r}: {o.message or o.status}\n{o.detail}"


def _is_allowed(assignment: Assignment, exercise_id: str, answer: str) -> Iterator[str]:
    """The solution must not use what the exercise forbids."""
    exercise = assignment.exercise(exercise_id)
    setups = [c.source for c in solution_cells(assignment) if c.role == "setup"]
    for found in find_forbidden([*setups, answer], exercise.names, exercise.forbid):
        yield f"the solution is forbidden: {found.sentence()}"


def _stub_fails(session: Session, exercise_id: str, secret: bytes) -> Iterator[str]:
    cells = load_template(session.assignment).of_role("answer")
    stub = next(c.source for c in cells if c.exercise == exercise_id)
    for o in run_variant(session, exercise_id, stub, secret):
        if o.status == "passed":
            yield f"the untouched stub passes {o.name}"
    if exercise_id not in stub:
        yield "the stub's error must name the exercise"


def _mutant_dies(
    session: Session,
    mutant: Variant,
    source: str,
    secrets: Sequence[bytes],
    kills: dict[str, list[str]],
) -> Iterator[str]:
    for name in mutant.caught_by:
        if name not in kills:
            yield f"mutant {mutant.name}: caught_by names {name}, which is no test of this exercise"
    always: set[str] = set(kills)
    for secret in secrets:
        outcomes = run_variant(session, mutant.exercise, source, secret)
        always &= {o.name for o in outcomes if o.status != "passed"}
    for name in sorted(always):
        kills[name].append(mutant.name)
    if not always:
        yield f"mutant {mutant.name} is caught by no test in every run"
    elif not always & set(mutant.caught_by):
        yield f"mutant {mutant.name} is caught by {sorted(always)}, none of which is in its caught_by"


def loose_ends(session: Session, exercise_id: str) -> Iterator[str]:
    """What students would miss though the tests are sound: public checks, sections that the book does not have."""
    from gradatim.checks import exercise_ids

    assignment = session.assignment
    if exercise_id not in exercise_ids():
        yield f'check("{exercise_id}") knows no public cases: write them in lib/gradatim/checks/'
    sections = [assignment.exercise(exercise_id).section]
    sections += [t.claim.section for t in session.tests[exercise_id]]
    sections += [m.section for m in assignment.mutants(exercise_id)]
    for section in dict.fromkeys(sections):
        page, _, anchor = section.partition("#")
        path = assignment.root / "book" / page.replace(".html", ".md")
        if section and not (path.is_file() and f"\n({anchor})=\n" in f"\n{path.read_text(encoding='utf-8')}"):
            yield f"{section} is no section of the book: there is no ({anchor})= in book/{path.name}"


def main(names: Sequence[str]) -> int:
    """Print the proof of each named assignment; exit status 0 when everything holds."""
    faulty = 0
    for name in names:
        with Session(Assignment.load(name)) as session:
            for exercise in session.assignment.exercises:
                if exercise.manual:
                    continue
                proof = prove(session, exercise.id)
                faulty += bool(proof.faults)
                points = session.points(exercise.id)
                print(
                    f"{'FAULT' if proof.faults else 'ok':5} {name}/{exercise.id}: {points:g} points, "
                    f"{len(proof.kills)} tests, {proof.mutants} mutants, {proof.alternatives} alternatives"
                )
                for fault in proof.faults:
                    print(f"      - {fault}")
                for note in loose_ends(session, exercise.id):
                    print(f"      note: {note}")
    return 1 if faulty else 0
