import json
import os
import re
import shutil
import time
from pathlib import Path
from typing import Any
from urllib.parse import quote

import nbformat
import pytest
from nbconvert.exporters import HTMLExporter
from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath
from nbgrader.apps import NbGrader
from nbgrader.apps.api import NbGraderAPI
from nbgrader.server_extensions.formgrader import handlers

from autograder import nbgrader_plugin
from autograder.assignment import Assignment, AssignmentError
from autograder.by_hand import ByHand, HandMarks
from autograder.export import marks_with_manual
from autograder.ingest import scan
from autograder.nbgrader_config import write_config
from autograder.nbgrader_course import course_config, course_settings, open_gradebook, prepare_course
from autograder.nbgrader_record import Recorder, marks_of, record
from autograder.outputs import safe_markdown
from autograder.reading import read_notebook
from autograder.recovery import plan_cells
from autograder.release import load_template, release
from autograder.verdict import CellOutcome, ExerciseVerdict, SubmissionVerdict, TestVerdict

TOY_ROOT = Path(__file__).parent / "toy_course"
SOFTPLUS = "def softplus(x):\n    return torch.logaddexp(x, torch.zeros_like(x))"
HOSTILE = """<script>alert(1)</script><img src=x onerror=alert(1)>
[a](javascript:alert(1)) [b](&#106;avascript:alert(1))
<https://x.y> $\\href{javascript:alert(1)}{x}$ `log(1+exp(x))`"""
MEAN = "class RunningMean:\n    pass"


class FakeGrader:
    """Gives a verdict without running anything: an answer that says `right` passes. For what comes after grading."""

    def __init__(self) -> None:
        self.assignment = Assignment.load("toy", TOY_ROOT)
        self.template = load_template(self.assignment)
        self.graded = 0

    def close(self) -> None:
        pass

    def _exercise(self, exercise_id: str, status: str, message: str, max_score: float) -> ExerciseVerdict:
        manual = exercise_id == "explain_overflow"
        score = max_score if status == "passed" else 0.0
        test = TestVerdict(
            "test_it", "It is right.", max_score, score, "passed" if score else "failed", hint="Look."
        )
        tests = () if manual or status in ("missing", "unreadable") else (test,)
        return ExerciseVerdict(
            exercise_id, exercise_id, score, max_score, status, message, tests, manual=manual
        )

    def unreadable(self, reason: str) -> SubmissionVerdict:
        points = {"softplus": 3.0, "running_mean": 3.0, "explain_overflow": 4.0}
        exercises = tuple(self._exercise(e, "unreadable", reason, p) for e, p in points.items())
        return SubmissionVerdict("toy", exercises, status="unreadable", message=reason)

    def grade(self, raw: bytes) -> SubmissionVerdict:
        self.graded += 1
        read = read_notebook(raw)
        if read.fatal:
            return self.unreadable(read.fatal)
        plan = plan_cells(read, self.template)
        cells = tuple(CellOutcome(c.origin, c.exercise, "ok", "", c.source) for c in plan.cells)
        exercises = []
        for name in ("softplus", "running_mean"):
            text = "".join(c.source for c in plan.cells if c.exercise == name)
            status = "missing" if name in plan.unanswered else "passed" if "right" in text else "failed"
            exercises.append(self._exercise(name, status, "" if status == "passed" else "It is wrong.", 3.0))
        status = "manual" if "explain_overflow" in plan.manual else "missing"
        exercises.append(self._exercise("explain_overflow", status, "", 4.0))
        return SubmissionVerdict(
            "toy", tuple(exercises), cells=cells, manual_answers=plan.manual, manual_pictures=plan.pictures
        )


@pytest.fixture(autouse=True)
def toy_grader(monkeypatch: pytest.MonkeyPatch) -> FakeGrader:
    monkeypatch.setenv("GRADATIM_COURSE", str(TOY_ROOT))
    grader = FakeGrader()
    monkeypatch.setattr(nbgrader_plugin, "_open_grader", lambda course, file, plain: grader)
    monkeypatch.setattr(nbgrader_plugin, "_process", nbgrader_plugin._Process())
    return grader


@pytest.fixture(scope="module")
def released(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A course into which the toy assignment was released. (The committed toy course is not written to.)"""
    folder = tmp_path_factory.mktemp("released")
    root = shutil.copytree(TOY_ROOT, folder / "project", ignore=shutil.ignore_patterns("__pycache__"))
    release(Assignment.load("toy", root), folder / "course")
    return folder / "course"


@pytest.fixture
def course(released: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(released, tmp_path / "course"))


def submit(course: Path, student: str, name: str = "toy.ipynb", **answers: str) -> Path:
    tree = json.loads((course / "release" / "toy" / "toy.ipynb").read_text())
    for cell in tree["cells"]:
        grade_id = cell["metadata"].get("nbgrader", {}).get("grade_id", "")
        if (key := grade_id.replace("-answer", "")) in answers and not cell["source"][0].startswith("check"):
            cell["source"] = answers[key]
    path = course / "submitted" / student / "toy" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(tree))
    return path


def full_class(course: Path) -> None:
    submit(
        course,
        "ann",
        softplus=SOFTPLUS + "  # right",
        running_mean=MEAN + "  # right",
        explain_overflow="So.",
    )
    submit(course, "bob", softplus=SOFTPLUS)
    submit(course, "cut").write_bytes((course / "release" / "toy" / "toy.ipynb").read_bytes()[:2500])
    submit(course, "dan").write_bytes(b"\xff\xfe\x00garbage")
    submit(course, "eve", "toy (1).ipynb", softplus=SOFTPLUS + "  # right")
    link = course / "submitted" / "fay" / "toy" / "toy.ipynb"
    link.parent.mkdir(parents=True)
    link.symlink_to(course / "source" / "toy" / "toy.ipynb")
    (submit(course, "gil", softplus=SOFTPLUS + "  # right").parent / "data").symlink_to("/dev/zero")
    os.mkfifo(submit(course, "hal", softplus=SOFTPLUS + "  # right").parent / "pipe")
    (course / "submitted" / "ivy").symlink_to("ann")


def api_autograde(course: Path, student: str = "*", force: bool = True) -> dict[str, Any]:
    config = course_config(course)
    app = NbGraderAPI(course_settings(course, config), config=config)
    return app.autograde("toy", student, force=force)


def dump(course: Path) -> dict[str, Any]:
    """All of the gradebook that grading writes."""
    table: dict[str, Any] = {}
    with open_gradebook(course) as gradebook:
        for submission in gradebook.assignment_submissions("toy"):
            entry = table.setdefault(submission.student.id, {"time": str(submission.timestamp)})
            for notebook in submission.notebooks:
                entry["penalty"] = notebook.late_submission_penalty
                entry["score"] = (notebook.score, notebook.max_score)
                for g in notebook.grades:
                    entry[g.name] = (g.auto_score, g.manual_score, g.extra_credit, g.needs_manual_grade)
                for c in notebook.comments:
                    entry[c.name + " comment"] = (c.auto_comment, c.manual_comment)
    return table


def record_all(course: Path, grader: FakeGrader) -> int:
    graded = []
    for file in scan(course):
        try:
            graded.append((file, grader.grade(file.read())))
        except OSError as err:
            graded.append((file, grader.unreadable(str(err))))
    return record(course, graded)


def graded_notebook(course: Path, student: str) -> nbformat.NotebookNode:
    return nbformat.read(course / "autograded" / student / "toy" / "toy.ipynb", as_version=4)


def test_stock_autograde_and_the_recorder_leave_equal_gradebooks(course, released, tmp_path, toy_grader):
    full_class(course)
    result = api_autograde(course)
    assert result["success"], result
    stock = dump(course)
    notebooks = {s: (course / "autograded" / s / "toy" / "toy.ipynb").read_bytes() for s in stock}
    other = Path(shutil.copytree(released, tmp_path / "other"))
    full_class(other)
    record_all(other, toy_grader)
    fast = dump(other)
    for entry in (*stock.values(), *fast.values()):
        entry.pop("time")
    assert fast.keys() == stock.keys()
    for student, entry in stock.items():
        assert fast[student] == entry, student
        ours = nbformat.read(other / "autograded" / student / "toy" / "toy.ipynb", as_version=4)
        assert ours == nbformat.reads(notebooks[student].decode(), as_version=4)


def test_every_kind_of_file_gets_its_mark_and_none_ends_the_class(course):
    full_class(course)
    assert api_autograde(course)["success"]
    table = dump(course)
    scores = {student: entry["score"][0] for student, entry in table.items()}
    assert scores == {
        "ann": 6,
        "bob": 0,
        "cut": 0,
        "dan": 0,
        "eve": 3,
        "fay": 0,
        "gil": 3,
        "hal": 3,
        "ivy": 0,
    }
    assert all(entry["score"][1] == 10 for entry in table.values())
    assert "not a notebook" in table["dan"]["softplus-answer comment"][0]
    assert "symbolic link" in table["fay"]["softplus-answer comment"][0]
    assert "symbolic link" in table["ivy"]["softplus-answer comment"][0]
    assert table["bob"]["softplus-answer comment"][0].startswith("It is wrong.")
    assert table["bob"]["running_mean-answer comment"][0] == "No response."
    assert table["ann"]["softplus-answer comment"][0] is None


def test_what_must_not_be_copied_is_moved_away_and_kept(course):
    full_class(course)
    api_autograde(course)
    refused = course / ".autograder" / "refused"
    assert os.readlink(refused / "gil" / "toy" / "data") == "/dev/zero"
    assert (refused / "hal" / "toy" / "pipe").is_fifo()
    assert sorted(p.name for p in (course / "autograded" / "hal" / "toy").iterdir()) == ["toy.ipynb"]


def test_hand_graded_answers_wait_for_a_person(course):
    full_class(course)
    api_autograde(course)
    table = dump(course)
    assert table["ann"]["explain_overflow"] == (None, None, None, True)
    assert table["bob"]["explain_overflow"] == (0.0, None, None, False)


def test_manual_marks_and_comments_survive_a_regrade(course, toy_grader):
    submit(course, "ann", softplus=SOFTPLUS, explain_overflow="So.")
    record_all(course, toy_grader)
    with open_gradebook(course) as gradebook:
        grade = gradebook.find_grade("explain_overflow", "toy", "toy", "ann")
        grade.manual_score, grade.extra_credit, grade.needs_manual_grade = 3.5, 1.0, False
        override = gradebook.find_grade("softplus", "toy", "toy", "ann")
        override.manual_score, override.needs_manual_grade = 2.0, False
        gradebook.find_comment("explain_overflow", "toy", "toy", "ann").manual_comment = "Well put."
        gradebook.db.commit()
    for regrade in (lambda: record_all(course, toy_grader), lambda: api_autograde(course)):
        regrade()
        entry = dump(course)["ann"]
        assert entry["explain_overflow"] == (None, 3.5, 1.0, True)
        assert entry["explain_overflow comment"][1] == "Well put."
        assert entry["softplus"] == (0.0, 2.0, None, False)  # nothing changed: no second look asked for
        assert entry["score"][0] == 3.5 + 1.0 + 2.0
    submit(course, "ann", softplus=SOFTPLUS + "  # right", explain_overflow="So.")
    record_all(course, toy_grader)
    assert dump(course)["ann"]["softplus"] == (3.0, 2.0, None, True)


def test_feedback_and_export_have_what_was_given_by_hand(course, toy_grader):
    submit(course, "ann", softplus=SOFTPLUS, explain_overflow="So.")
    submit(course, "bob", softplus=SOFTPLUS, explain_overflow="So.")
    record_all(course, toy_grader)
    with HandMarks(course) as hand:
        assert hand.of("ann", "toy", "toy") == hand.of("nobody", "toy", "toy") == ByHand()
    with open_gradebook(course) as gradebook:
        grade = gradebook.find_grade("explain_overflow", "toy", "toy", "ann")
        grade.manual_score, grade.extra_credit = 3.5, 0.25
        gradebook.find_comment("explain_overflow", "toy", "toy", "ann").manual_comment = "Well put."
        gradebook.find_submission_notebook("toy", "toy", "ann").late_submission_penalty = 1.5
        waiting = gradebook.find_grade("explain_overflow", "toy", "toy", "bob")
        waiting.extra_credit = 1.0  # and no mark yet
        gradebook.db.commit()
    with HandMarks(course) as hand:
        given = hand.of("ann", "toy", "toy")
        assert given == ByHand({"explain_overflow": 3.75}, {"explain_overflow": "Well put."}, 1.5)
        assert hand.of("bob", "toy", "toy") == ByHand()
    own = {"score": 0.0, "max_score": 4.0, "status": "manual", "message": "to be graded by hand"}
    marks = {"ann": {"toy": {"score": 0.0, "max_score": 10.0, "exercises": {"explain_overflow": own}}}}
    entry = marks_with_manual(marks, course)["ann"]["toy"]
    assert entry["exercises"]["explain_overflow"] == {**own, "score": 3.75, "message": "graded by hand"}
    assert (entry["score"], entry["message"]) == (2.25, "1.5 taken off for being late")
    assert marks["ann"]["toy"]["exercises"]["explain_overflow"] is own


def test_the_time_is_the_servers_unless_the_course_trusts_its_students(course, toy_grader):
    path = submit(course, "ann")
    path.with_name("timestamp.txt").write_text("2001-02-03 04:05:06 UTC")
    for grade in (lambda: record_all(course, toy_grader), lambda: api_autograde(course)):
        grade()
        assert not dump(course)["ann"]["time"].startswith("2001")
    with (course / "nbgrader_config.py").open("a") as f:
        f.write("c.SaveVerdict.trust_timestamps = True\n")
    path.with_name("timestamp.txt").write_text("2001-02-03 04:05:06 UTC")
    for grade in (lambda: record_all(course, toy_grader), lambda: api_autograde(course)):
        grade()
        assert dump(course)["ann"]["time"] == "2001-02-03 04:05:06"


def test_a_timestamp_that_is_none_takes_nothing_down(course, toy_grader):
    submit(course, "ann").with_name("timestamp.txt").write_text("next Tuesday, perhaps \x00")
    os.mkfifo(submit(course, "bob").with_name("timestamp.txt"))
    submit(course, "cat").with_name("timestamp.txt").symlink_to("/etc/passwd")
    submit(course, "dan").with_name("timestamp.txt").mkdir()
    assert api_autograde(course)["success"]
    record_all(course, toy_grader)
    config = course_config(course)
    shown = NbGraderAPI(course_settings(course, config), config=config).get_submissions("toy")
    assert {s["student"]: s["autograded"] for s in shown} == dict.fromkeys(("ann", "bob", "cat", "dan"), True)
    times = {s: e["time"] for s, e in dump(course).items()}
    assert all(time.startswith("20") for time in times.values())


def test_a_copied_course_keeps_the_first_arrival(course, toy_grader):
    path = submit(course, "ann")
    ledger = course / ".autograder" / "arrivals" / "ann" / "toy"
    record_all(course, toy_grader)
    (entry,) = ledger.iterdir()
    entry.write_text("2020-01-02 03:04:05 UTC")
    record_all(course, toy_grader)
    assert dump(course)["ann"]["time"] == "2020-01-02 03:04:05"
    path.write_bytes(path.read_bytes() + b" ")
    record_all(course, toy_grader)
    assert not dump(course)["ann"]["time"].startswith("2020")


def test_late_penalties_are_nbgraders(course, toy_grader):
    (course / "late.py").write_text(
        "from nbgrader.plugins import BasePlugin\n\n\n"
        "class Late(BasePlugin):\n"
        "    def late_submission_penalty(self, student_id, score, seconds):\n"
        "        return 1.5\n"
    )
    with (course / "nbgrader_config.py").open("a") as f:
        f.write(f"import sys\nsys.path.insert(0, {str(course)!r})\n")
        f.write("c.AssignLatePenalties.plugin_class = 'late.Late'\n")
    with open_gradebook(course) as gradebook:
        gradebook.update_or_create_assignment("toy", duedate="2020-01-01 00:00:00 UTC")
    submit(course, "ann", softplus=SOFTPLUS + "  # right")
    submit(course, "bob")
    record_all(course, toy_grader)
    fast = dump(course)
    assert fast["ann"]["penalty"] == 1.5
    assert fast["bob"]["penalty"] == 0  # never more than the score
    api_autograde(course)
    assert dump(course) == fast


def test_the_graded_notebook_is_ours_with_the_students_answers(course, toy_grader):
    submit(course, "ann", softplus=SOFTPLUS + "  # right", setup="check = 'forged'", explain_overflow="So.")
    record_all(course, toy_grader)
    notebook = graded_notebook(course, "ann")
    nbformat.validate(notebook)
    cells = {c.metadata.nbgrader.grade_id: c for c in notebook.cells if "nbgrader" in c.metadata}
    assert cells["softplus-answer"].source.endswith("# right")
    assert "forged" not in cells["setup"].source
    assert cells["softplus"].source == 'check("softplus")'
    assert "3 of 3 points" in cells["softplus"].outputs[0].text
    assert cells["explain_overflow"].source == "So."
    assert any("forged" in c.source for c in notebook.cells if "nbgrader" not in c.metadata)
    assert (course / "autograded" / "ann" / "toy" / "toy.ipynb").stat().st_mode & 0o777 == 0o444


PICTURE = {"image/png": "iVBORw0KGgo="}


def submit_pictures(course: Path, text: str, attachments: dict[str, Any]) -> None:
    path = submit(course, "ann", explain_overflow=text)
    tree = json.loads(path.read_text())
    cell = next(c for c in tree["cells"] if c["source"] == text)
    cell["attachments"] = attachments
    path.write_text(json.dumps(tree))


def test_the_graded_notebook_and_its_pages_hold_the_essays_picture(course, toy_grader):
    evil = '"><script>alert(1)</script>'
    submit_pictures(
        course,
        f"![x](attachment:image.png) ![x](attachment:lost.png) ![x](attachment:{quote(evil)})",
        {"image.png": PICTURE, "unused.png": PICTURE, evil: {"image/gif": "R0lGODlh"}},
    )
    record_all(course, toy_grader)
    notebook = graded_notebook(course, "ann")
    nbformat.validate(notebook)
    (cell,) = [c for c in notebook.cells if c.get("attachments")]
    assert cell.metadata.nbgrader.grade_id == "explain_overflow"
    assert cell.attachments == {"picture-1.png": PICTURE, "picture-2.gif": {"image/gif": "R0lGODlh"}}
    config = course_config(course)
    result = NbGraderAPI(course_settings(course, config), config=config).generate_feedback("toy", "ann")
    assert result["success"], result
    feedback = (course / "feedback" / "ann" / "toy" / "toy.html").read_text()
    for page in (feedback, formgrader_page(course, "ann")):
        sources = re.findall(r"<img[^>]*src=\"([^\"]*)", page)
        assert sources == ["data:image/png;base64,iVBORw0KGgo=", "data:image/gif;base64,R0lGODlh"]
        assert "alert(1)" not in page


def formgrader_page(course: Path, student: str) -> str:
    """As nbgrader's SubmissionHandler renders it."""
    config = course_config(course)
    config.HTMLExporter.template_name = "formgrade"
    config.HTMLExporter.extra_template_basedirs = [handlers.template_path]
    names = (
        "assignment_id",
        "notebook_id",
        "submission_id",
        "student",
        "last_name",
        "first_name",
        "notebook_path",
    )
    resources = {**dict.fromkeys(names, "x"), "index": 0, "total": 1, "base_url": "/"}
    path = course / "autograded" / student / "toy" / "toy.ipynb"
    return HTMLExporter(config=config).from_filename(str(path), resources=resources)[0]


def test_stock_generate_assignment_makes_the_same_notebook(course):
    before = json.loads((course / "release" / "toy" / "toy.ipynb").read_text())
    config = course_config(course)
    result = NbGraderAPI(course_settings(course, config), config=config).generate_assignment(
        "toy", force=True
    )
    assert result["success"], result
    assert json.loads((course / "release" / "toy" / "toy.ipynb").read_text()) == before


def test_stock_feedback_shows_marks_and_comments(course, toy_grader):
    submit(course, "ann", softplus=SOFTPLUS, explain_overflow=f"{HOSTILE} ![x](attachment:lost.png)")
    record_all(course, toy_grader)
    config = course_config(course)
    result = NbGraderAPI(course_settings(course, config), config=config).generate_feedback("toy", "ann")
    assert result["success"], result
    page = (course / "feedback" / "ann" / "toy" / "toy.html").read_text()
    assert "It is wrong." in page
    assert not re.search(r"<(script|img)[^>]*(alert|src=x)|javascript:alert|&#106;", page)
    assert "log(1+exp(x))" in page


@pytest.mark.parametrize(
    "text",
    [
        "![x](attachment:y.png)",
        "![x](attachment\\:y.png)",
        "![x](\nattachment:y.png)",
        "![x](<\tattachment:y.png>)",
        "![x][r]\n\n[r]: attachment:y.png",
        "![x](attachment:p.png)![x](attachment:p.png.y)",
        "![x](attachment:p.png\\)y)",
        "![x][r]\n\n[r]: attachment:p.png)y",
        "![x](<(attachment:p.png)>)",
    ],
)
def test_a_picture_that_is_not_there_ends_no_page(text):
    with_pictures = IPythonRenderer(escape=False, attachments={"p.png": {"image/png": "AAAA"}})
    for safe, renderer in (
        (safe_markdown(text), IPythonRenderer(escape=False)),
        (safe_markdown(text, ["p.png"]), with_pictures),
    ):
        assert "missing" not in MarkdownWithMath(renderer=renderer).render(
            safe
        )  # it raises where one is missing


def test_marks_stay_within_their_range(toy_grader):
    assert all(0 <= m.score <= m.max_score for m in marks_of(toy_grader.unreadable("x")).values())


def test_points_changed_after_the_release_are_taken_over(course, toy_grader):
    with open_gradebook(course) as gradebook:
        gradebook.update_or_create_grade_cell("softplus", "toy", "toy", max_score=1.0, cell_type="code")
    submit(course, "ann", softplus=SOFTPLUS + "  # right")
    record_all(course, toy_grader)
    assert dump(course)["ann"]["score"] == (3.0, 10.0)


def test_an_unreleased_assignment_is_one_sentence(tmp_path, course, toy_grader):
    submit(course, "ann")
    prepare_course(tmp_path / "new")
    (tmp_path / "new" / "submitted").rmdir()
    (course / "submitted").rename(tmp_path / "new" / "submitted")
    with pytest.raises(AssignmentError, match="release it first"):
        record_all(tmp_path / "new", toy_grader)


def test_a_failure_while_recording_leaves_no_half_submission(course, toy_grader, monkeypatch):
    submit(course, "ann", softplus=SOFTPLUS + "  # right")
    (file,) = scan(course)
    with Recorder(course) as recorder:
        monkeypatch.setattr(recorder, "_late_penalty", lambda submitted: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            recorder.record(file, toy_grader.grade(file.read()))
    assert dump(course) == {}


def test_a_foreign_configuration_is_not_overwritten(tmp_path):
    path = tmp_path / "nbgrader_config.py"
    path.write_text("c = get_config()\n")
    assert not write_config(tmp_path, "course")
    with pytest.raises(AssignmentError, match="must call"):
        prepare_course(tmp_path)
    assert path.read_text() == "c = get_config()\n"


def test_recording_a_submission_takes_milliseconds(course, toy_grader):
    for k in range(30):
        submit(course, f"s{k:02}", softplus=SOFTPLUS + "  # right", explain_overflow="So.")
    files = [(f, toy_grader.grade(f.read())) for f in scan(course)]
    record(course, files[:2])
    start = time.process_time()
    assert record(course, files) == 30
    assert (time.process_time() - start) / 30 < 0.06


def test_nbgraders_own_application_loads_the_configuration(course, monkeypatch):
    monkeypatch.chdir(course)
    app = NbGrader()
    app.initialize([])
    assert app.config.HTMLExporter.sanitize_html is True
    assert app.config.Autograde.exporter_class.endswith("TolerantExporter")
