"""Copies are found through renaming, comments and order; honest answers and standard ones are left alone."""

import random
import time

import pytest

from autograder.assignment import Assignment, project_root
from autograder.normal_form import definitions, statements
from autograder.similarity import Answers, Similarity, library_definitions

OWN = """
def fit(x, y, rounds):
    weights = torch.zeros(x.shape[1])
    velocity = torch.zeros_like(weights)
    best = None
    for k in range(rounds):
        error = x @ weights - y
        slope = x.T @ error / len(y)
        velocity = 0.9 * velocity + slope
        weights = weights - 0.05 * velocity
        loss = error.abs().clamp(max=3.0).mean()
        if best is None or loss < best[0]:
            best = (loss, weights.clone())
    return best[1]
"""
COPY = '''
# my own work!
def fit(data, target, steps):
    """I wrote this by myself."""
    v = torch.zeros_like(w0)  # momentum
    w0 = torch.zeros(data.shape[1])
    top = None
    for i in range(steps):
        residual = data @ w0 - target
        g: torch.Tensor = data.T @ residual / len(target)
        l = residual.abs().clamp(max=3.0).mean()
        v = 0.9 * v + g
        w0 = w0 - 0.05 * v
        if top is None or l < top[0]:
            top = (l, w0.clone())
    return top[1]
'''
HONEST = [
    """
def fit(x, y, rounds):
    model = torch.nn.Linear(x.shape[1], 1, bias=False)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    history = []
    while len(history) < rounds:
        optimizer.zero_grad()
        F.huber_loss(model(x).squeeze(1), y, delta=3.0).backward()
        optimizer.step()
        history.append((float(F.l1_loss(model(x).squeeze(1), y)), model.weight.detach().clone()))
    return min(history, key=lambda pair: pair[0])[1].flatten()
""",
    """
def fit(x, y, rounds):
    def objective(w):
        r = (x * w).sum(dim=1).sub(y)
        return torch.where(r.abs() <= 3.0, r.pow(2).div(2), 3.0 * r.abs() - 4.5).sum().div(y.numel())
    w, m = torch.zeros(x.size(1), requires_grad=True), 0
    scores, candidates = [], []
    for _ in range(rounds):
        g, = torch.autograd.grad(objective(w), w)
        m = g.add(m, alpha=0.9) if torch.is_tensor(m) else g
        w = (w - m.mul(0.05)).detach().requires_grad_(True)
        scores.append(objective(w).item()); candidates.append(w.detach())
    return candidates[int(np.argmin(scores))]
""",
    """
def fit(x, y, rounds):
    xx, xy = np.asarray(x), np.asarray(y)
    w = [0.0 for _ in xx[0]]
    for turn in range(rounds):
        for row, goal in zip(xx, xy):
            guess = sum(a * b for a, b in zip(row, w))
            push = max(-3.0, min(3.0, guess - goal))
            w = [b - 0.05 / len(xy) * push * a for a, b in zip(row, w)]
    return torch.tensor(w, dtype=x.dtype)
""",
]
WORDS = [
    "sin",
    "cos",
    "tan",
    "exp",
    "log",
    "abs",
    "neg",
    "sqrt",
    "relu",
    "sigmoid",
    "floor",
    "round",
    "square",
    "erf",
    "asin",
    "sinh",
]
STANDARD = "def mse(a, b):\n    d = a - b\n    return (d ** 2).mean()\n"


def compare(answers, given=None) -> Similarity:
    collected = Answers(given)
    for student, source in answers.items():
        collected.add(student, "fit", source)
    return collected.compare()


def class_of(count, **more):
    """Answers that nobody took from another: each computes something else, by other means."""
    return {f"s{k:04}": random_answer(random.Random(k)) for k in range(count)} | more


def random_answer(draw):
    def term(depth):
        kind = draw.randrange(6 if depth else 2)
        if kind == 0:
            return draw.choice("xyz")
        if kind == 1:
            return f"{draw.random():.2f}"
        if kind == 2:
            return f"{term(depth - 1)}.{draw.choice(WORDS)}()"
        if kind == 3:
            return f"torch.{draw.choice(WORDS)}({term(depth - 1)}, {term(depth - 1)})"
        if kind == 4:
            return f"({term(depth - 1)} {draw.choice('+-*/@')} {term(depth - 1)})"
        return f"[{term(depth - 1)} for z in {term(depth - 1)}]"

    lines = []
    for k in range(draw.randrange(6, 14)):
        head = draw.choice(("", "", "", "    if {}:\n    ", "    for y in {}:\n    ", "    while {}:\n    "))
        lines.append(head.format(term(2)) + f"    a{k} = {term(4)}")
    return "def fit(x):\n" + "\n".join(lines) + f"\n    return {term(2)}\n"


def test_a_copy_with_other_names_comments_and_order_is_one_normal_form():
    assert sorted(statements(OWN)) == sorted(statements(COPY))


def test_a_disguised_copy_is_listed_and_honest_answers_are_not():
    honest = {f"honest-{k}": source for k, source in enumerate(HONEST)}
    found = compare(class_of(20, ann=OWN, bob=COPY, **honest))
    assert [(g.students, g.similarity) for g in found.groups] == [(("ann", "bob"), 1.0)]


def test_a_copy_with_one_line_changed_is_still_listed():
    changed = COPY.replace("0.05 * v", "lr * v").replace("for i in", "lr = 0.05\n    for i in")
    found = compare(class_of(20, ann=OWN, bob=changed))
    assert [g.students for g in found.groups] == [("ann", "bob")]
    assert 0.8 <= found.groups[0].similarity < 1.0


def test_a_standard_answer_of_three_lines_is_nobodys():
    found = compare({f"s{k}": STANDARD for k in range(30)})
    assert (found.groups, found.compared) == ([], {"fit": 0})


def test_what_a_good_part_of_the_class_wrote_counts_for_nobody():
    found = compare(class_of(20, **{f"same-{k}": OWN for k in range(10)}))
    assert found.groups == []


def test_given_code_does_not_make_answers_similar():
    answers = {"ann": OWN + "\nann = 1\n", "bob": COPY + "\nbob = 2 + 2\n"}
    assert len(compare(answers).groups) == 1
    assert compare(answers, given={"fit": OWN}).groups == []


def test_honest_answers_to_the_course_s_own_exercises_are_not_listed():
    assignment = Assignment.load("losses", root=project_root())
    from autograder.solution import solution_cells

    collected = Answers()
    for cell in solution_cells(assignment):
        if cell.role == "answer" and cell.exercise:
            collected.add("solution", cell.exercise, cell.source)
            for variant in assignment.alternatives(cell.exercise):
                collected.add(variant.name, cell.exercise, variant.apply(cell.source))
    assert collected.compare().groups == []


def test_two_students_together_in_several_exercises_are_a_pair():
    collected = Answers()
    for student, source in {"ann": OWN, "bob": COPY, "cat": HONEST[0]}.items():
        for exercise in ("first", "second"):
            collected.add(student, exercise, source)
    found = collected.compare()
    assert found.pairs == [{"students": ["ann", "bob"], "exercises": ["first", "second"]}]


def test_an_answer_taken_from_the_library_is_named():
    assert len(library_definitions()) > 500
    source = (project_root() / "lib" / "gradatim" / "losses" / "classification.py").read_text()
    name = max((d for d in definitions(source) if d.name.islower()), key=lambda d: d.nodes).name
    start = source.index(f"def {name}(")
    end = source.find("\n\n\n", start)
    taken = source[start:end].replace(f"def {name}(", "def my_answer(")
    found = compare({"ann": taken, "bob": STANDARD})
    assert [(e["student"], e["defines"]) for e in found.library] == [("ann", "my_answer")]
    assert found.library[0]["equals"].endswith(f".{name}")


@pytest.mark.parametrize(
    "source",
    ["", "def f(:\n  x = = 1", "\0" * 99, "(" * 5_000, "-" * 30_000 + "1", "x = 1\n" * 20_000, "\ud800 = 1"],
)
def test_any_text_is_taken(source):
    assert compare({"ann": source, "bob": source}).compared["fit"] in (0, 2)


@pytest.mark.slow
def test_a_thousand_answers_are_compared_in_seconds():
    answers = class_of(1000, ann=OWN, bob=COPY)
    start = time.perf_counter()
    found = compare(answers)
    assert time.perf_counter() - start < 60
    assert ("ann", "bob") in [g.students for g in found.groups]
    assert found.compared["fit"] > 600  # the others are too short
