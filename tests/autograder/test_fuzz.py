"""Thousands of damaged notebooks and frames: each one ends in a verdict or in one of the defined errors, soon.

GRADATIM_FUZZ sets how many (default 200 of each kind):  GRADATIM_FUZZ=10000 pytest tests/autograder/test_fuzz.py
"""

import copy
import json
import os
import random
import socket
import threading
import time
from pathlib import Path

import pytest

from autograder.assignment import Assignment, project_root
from autograder.grading import Grader
from autograder.reading import read_notebook
from autograder.recovery import plan_cells
from autograder.release import load_template
from autograder.sandbox import Sandbox, SandboxConfig, StudentFailure, submission, wire
from autograder.sandbox.submission import Worker
from autograder.verdict import STATUSES, SubmissionVerdict

from .hostile import unusual

COUNT = int(os.environ.get("GRADATIM_FUZZ", "200"))
#: Every so many damaged notebooks go through the whole grader.
WHOLE = 20
TOY = Path(__file__).parent / "toy_course"
SCRAPS = (None, True, -1, 1e308, 10**400, "", "\0", "\ud800", "code", [], {}, [[]], {"$": "t"}, "A" * 5_000)
pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]


# Damage


def places(tree):
    """Every (container, key) of a tree."""
    found, waiting = [], [tree]
    while waiting:
        node = waiting.pop()
        for key in node if isinstance(node, dict) else range(len(node)):
            found.append((node, key))
            if isinstance(node[key], dict | list):
                waiting.append(node[key])
    return found


def damage_tree(draw, tree):
    """Change types, move, repeat, rename and nest parts of a tree."""
    for _ in range(draw.randrange(1, 5)):
        found = places(tree)
        if not found:
            return tree
        (node, key), (other, place) = draw.choice(found), draw.choice(found)
        kind = draw.randrange(7)
        if kind == 0:
            node[key] = draw.choice(SCRAPS)
        elif kind == 1:
            del node[key]
        elif kind == 2:
            node[key] = copy.deepcopy(other[place])
        elif kind == 3:
            node[key], other[place] = copy.deepcopy(other[place]), copy.deepcopy(node[key])
        elif kind == 4 and isinstance(node, list):
            draw.shuffle(node)
        elif kind == 5 and isinstance(node, dict):
            node[draw.choice(("cells", "source", "metadata", "nbgrader", "grade_id", "\n"))] = node.pop(key)
        else:
            for _ in range(draw.choice((1, 10, 40))):
                node[key] = [node[key]] if draw.random() < 0.5 else {"cells": node[key]}
    return tree


def damage_bytes(draw, raw):
    """Cut, flip, repeat, insert and encode otherwise."""
    kind = draw.randrange(8)
    if kind == 0:
        return raw[: draw.randrange(len(raw) + 1)]
    if kind == 1:
        changed = bytearray(raw)
        for _ in range(draw.choice((1, 3, 30, 300)) if raw else 0):
            changed[draw.randrange(len(raw))] ^= 1 << draw.randrange(8)
        return bytes(changed)
    if kind == 2:
        start = draw.randrange(len(raw) + 1)
        return raw[:start] + raw[start : start + draw.randrange(2_000)] * draw.randrange(2, 5) + raw[start:]
    if kind == 3:
        start = draw.randrange(len(raw) + 1)
        junk = draw.choice((b'"', b"{", b"[" * 3_000, b'{"cells":' * 2_000, b"\\", b"\0", draw.randbytes(50)))
        return raw[:start] + junk + raw[start:]
    if kind == 4:
        return raw.decode("utf-8", "replace").encode(
            draw.choice(("utf-16", "utf-32", "latin-1", "utf-7")), "replace"
        )
    if kind == 5:
        key = draw.choice(
            (b'"cells"', b'"source"', b'"metadata"', b'"grade_id"', b'"cell_type"', b'"nbformat"')
        )
        return raw.replace(
            key, key + draw.choice((b": null, ", b": [], ", b': "x", ', b"")) + key, draw.choice((1, -1))
        )
    if kind == 6:
        start, end = sorted(draw.randrange(len(raw) + 1) for _ in range(2))
        return raw[:start] + raw[end:]
    return raw[draw.randrange(len(raw) + 1) :] + raw[: draw.randrange(len(raw) + 1)]


def damaged(seed, originals):
    draw = random.Random(seed)
    raw = draw.choice(originals)
    if draw.random() < 0.6:
        tree = damage_tree(draw, json.loads(raw))
        raw = json.dumps(tree).encode("utf-8", "surrogatepass")
    if draw.random() < 0.6:
        raw = damage_bytes(draw, raw)
    return raw


# Notebooks


@pytest.fixture(scope="module")
def grader():
    with Grader(Assignment.load("toy", TOY), secret=b"secret", cell_seconds=4.0) as opened:
        yield opened


def test_every_damaged_notebook_gets_a_plan():
    released = (project_root() / "book" / "exercises" / "losses.ipynb").read_bytes()
    templates = [
        load_template(Assignment.load("losses", project_root())),
        load_template(Assignment.load("toy", TOY)),
    ]
    slowest = 0.0
    for seed in range(COUNT):
        raw = damaged(seed, (released, unusual.GOOD))
        start = time.perf_counter()
        read = read_notebook(raw)
        for template in templates:
            plan = plan_cells(read, template)
            assert all(isinstance(c.source, str) for c in plan.cells), seed
            assert all(isinstance(text, str) for text in (*plan.repairs, *plan.manual.values())), seed
            known = {c.exercise for c in template.cells}
            assert plan.unanswered <= known, seed
        slowest = max(slowest, time.perf_counter() - start)
        assert slowest < 10, seed
    print(f"{COUNT} damaged notebooks read, the slowest in {slowest:.2f} s")


def test_a_damaged_notebook_s_verdict_is_whole(grader):
    for seed in range(0, COUNT, WHOLE):
        verdict = grader.grade(damaged(seed, (unusual.GOOD,)))
        assert verdict == SubmissionVerdict.from_json(verdict.to_json()), seed
        assert [e.id for e in verdict.exercises] == [e.id for e in grader.assignment.exercises], seed
        assert all(e.status in STATUSES and 0 <= e.score <= e.max_score for e in verdict.exercises), seed
    assert grader.grade(unusual.GOOD).score == 6


# Frames


@pytest.fixture(scope="module")
def conversation(grader):
    """What both sides say while a right answer is graded: (requests, replies), each a list of (message, buffers)."""
    requests, replies = [], []
    receive, pack = wire.receive, wire.pack

    def heard(*args):
        reply = receive(*args)
        replies.append(copy.deepcopy(reply))
        return reply

    def said(message, buffers=(), *args):
        requests.append((json.loads(json.dumps(message)), [bytes(b) for b in buffers]))
        return pack(message, buffers, *args)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(submission.wire, "receive", heard)
        patch.setattr(submission.wire, "pack", said)
        assert grader.grade(unusual.GOOD).score == 6
    assert len(requests) > 10
    assert len(replies) > 10
    return requests, replies


def frame(draw, originals):
    """A frame with something wrong in its values or in its bytes, or no frame at all."""
    if draw.random() < 0.1:
        return draw.randbytes(draw.randrange(200))
    message, buffers = copy.deepcopy(draw.choice(originals))
    buffers = [bytes(b) for b in buffers]
    if draw.random() < 0.8:
        message = damage_message(draw, message)
    if buffers and draw.random() < 0.3:
        k = draw.randrange(len(buffers))
        buffers[k] = damage_bytes(draw, buffers[k])[: 1 << 16]
    try:
        raw = b"".join(wire.pack(message, buffers))
    except wire.WireError:
        raw = wire.MAGIC + draw.randbytes(40)
    return damage_bytes(draw, raw) if draw.random() < 0.3 else raw


def damage_message(draw, message):
    kept = {key: message[key] for key in ("reply", "id", "op") if key in message and draw.random() < 0.9}
    return {**damage_tree(draw, message), **kept}


class ScriptedProcess:
    """In a worker's place: whatever is asked, it has already said these bytes, and hung up."""

    alive = True

    def __init__(self, raw):
        self.connection, theirs = socket.socketpair()

        def speak():
            with theirs:
                try:
                    theirs.sendall(raw)
                    theirs.shutdown(socket.SHUT_WR)
                    while theirs.recv(1 << 16):
                        pass
                except OSError:
                    pass

        self.thread = threading.Thread(target=speak)
        self.thread.start()

    def signal(self, number):
        pass

    def waited_for_processor(self):
        return 0.0

    def ended_with(self):
        return None

    def kill(self):
        self.connection.close()
        self.thread.join()


def test_any_frame_into_the_grader_is_a_value_or_a_student_s_failure(conversation):
    _, replies = conversation
    replies = [(message | {"reply": 1}, buffers) for message, buffers in replies]
    kinds, slowest = {}, 0.0
    for seed in range(COUNT):
        draw = random.Random(seed)
        raw = frame(draw, replies)
        start = time.perf_counter()
        with Worker(SandboxConfig(), lambda raw=raw: ScriptedProcess(raw)) as worker:
            if draw.random() < 0.3:
                outcome = worker.run_cell("x = 1", seconds=5).status
                assert outcome in ("ok", "error", "timeout", "crashed", "memory"), seed
            else:
                try:
                    with worker.limits(seconds=5):
                        worker.do("call", "softplus", 1.0, name="softplus")
                    outcome = "value"
                except StudentFailure as failure:
                    outcome = failure.kind
                except wire.WireError:
                    outcome = "refused"  # which fails the test, as any exception of a test does
        kinds[outcome] = kinds.get(outcome, 0) + 1
        slowest = max(slowest, time.perf_counter() - start)
        assert slowest < 20, seed
    print(f"{COUNT} frames into the grader, the slowest in {slowest:.2f} s: {kinds}")
    assert len(kinds) > 2


def test_any_frame_into_a_worker_is_answered_or_ends_the_worker_alone(conversation, grader):
    requests, _ = conversation
    with Sandbox(SandboxConfig(preload_if_present=())) as sandbox:
        process, ended, slowest = sandbox.spawn(), 0, 0.0
        for seed in range(COUNT):
            raw = frame(random.Random(seed), requests)
            start = time.perf_counter()
            try:
                wire.send(process.connection, [raw], wire.Deadline(10))
                if not whole(raw):
                    process.connection.shutdown(socket.SHUT_WR)
                wire.receive(process.connection, wire.Deadline(10))
            except (wire.WireError, TimeoutError, OSError):
                process.kill()
                process, ended = sandbox.spawn(), ended + 1
            slowest = max(slowest, time.perf_counter() - start)
        process.kill()
        assert sandbox.starts == 1
    print(f"{COUNT} frames into a worker, {ended} ended it, the slowest took {slowest:.2f} s")
    assert grader.grade(unusual.GOOD).score == 6


def whole(raw):
    """Whether a reader has all that these bytes announce."""
    if len(raw) < 8 or raw[:4] != wire.MAGIC:
        return len(raw) >= 8
    length = int.from_bytes(raw[4:8], "big")
    try:
        _, sizes = wire.unpack_header(raw[8 : 8 + length])
    except wire.WireError:
        return len(raw) >= 8 + length
    return len(raw) >= 8 + length + sum(sizes)
