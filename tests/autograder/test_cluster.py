"""Grading on a Dask cluster: the marks of a local run, whatever happens to the workers."""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from autograder import cluster
from autograder.assignment import AssignmentError
from autograder.cli import main

from .hostile import submissions, unusual

TOY = Path(__file__).parent / "toy_course"
#: Enough that a worker can be killed while others wait; each with a verdict of its own.
CLASS = {
    **unusual.FIVE_KINDS,
    **{f"other-{k}": unusual.with_softplus(f"{submissions.RIGHT_SOFTPLUS}# {k}\n") for k in range(8)},
}
KILLER = submissions.answer(submissions.WRONG_SOFTPLUS + "# killer\n")
POISON = """import os
from autograder import cluster
grade = cluster._Desk.grade
def poisoned(self, order):
    if b"# killer" in order.raw:
        os._exit(9)
    return grade(self, order)
cluster._Desk.grade = poisoned
"""


@pytest.fixture
def course(tmp_path, monkeypatch):
    monkeypatch.setenv("GRADATIM_COURSE", str(TOY))
    monkeypatch.setenv("GRADATIM_SECRET", "the same for both runs")
    write_class(tmp_path, CLASS)
    return tmp_path


def write_class(course, notebooks):
    for student, raw in notebooks.items():
        path = course / "submitted" / student / "toy" / "toy.ipynb"
        path.parent.mkdir(parents=True)
        path.write_bytes(raw)


class Dask:
    """A scheduler and its workers, each a process of its own."""

    def __init__(self, folder):
        self.processes, self.file = [], folder / "scheduler.json"
        self.start(
            "scheduler",
            "--host",
            "127.0.0.1",
            "--port",
            "0",
            "--no-dashboard",
            "--scheduler-file",
            str(self.file),
        )
        end = time.monotonic() + 60
        while not self.file.exists() and time.monotonic() < end:
            time.sleep(0.05)
        self.address = json.loads(self.file.read_text())["address"]

    def start(self, kind, *arguments, **environment):
        command = [sys.executable, "-m", "dask", kind, *arguments]
        process = subprocess.Popen(
            command,
            env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        self.processes.append(process)
        return process

    def worker(self, *options, **environment):
        return self.start(
            "worker", self.address, "--nthreads", "1", "--no-dashboard", *options, **environment
        )

    def close(self):
        for process in self.processes:
            process.send_signal(signal.SIGTERM)
        for process in self.processes:
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()


@pytest.fixture
def dask(tmp_path, course, monkeypatch):
    monkeypatch.setenv(
        "DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES", "1"
    )  # Dask's own 3 takes minutes here
    opened = Dask(tmp_path)
    yield opened
    opened.close()


def grade(course, state, *options):
    report = course / "marks.json"
    report.unlink(missing_ok=True)
    arguments = ["grade", str(course), "--quiet", "--state", str(course / state), "--json", str(report)]
    status = main([*arguments, *options])
    return status, json.loads(report.read_text())


def stored(folder):
    """Every stored verdict by its key, without times."""

    def timeless(tree):
        if isinstance(tree, dict):
            return {k: timeless(v) for k, v in tree.items() if k != "seconds"}
        return [timeless(v) for v in tree] if isinstance(tree, list) else tree

    return {p.stem: timeless(json.loads(p.read_text())) for p in (folder / "results").rglob("*.json")}


def results(course, state):
    return len(list((course / state / "results").rglob("*.json")))


@pytest.mark.slow
def test_a_cluster_reaches_the_verdicts_of_a_local_run_though_a_worker_is_killed_midway(course, dask, capsys):
    status, local = grade(course, "local")
    assert status == 0
    victim = dask.worker("--no-nanny")
    dask.worker("--no-nanny")

    def kill_midway():
        end = time.monotonic() + 120
        while results(course, "remote") < 3 and time.monotonic() < end:
            time.sleep(0.01)
        victim.kill()

    killer = threading.Thread(target=kill_midway)
    killer.start()
    status, remote = grade(course, "remote", "--scheduler", dask.address)
    killer.join()
    assert victim.wait() == -signal.SIGKILL
    assert (status, remote) == (0, local)
    assert stored(course / "remote") == stored(course / "local")
    assert "not encrypted" not in capsys.readouterr().err

    dask.close()  # everything is in the store here: nobody is asked any more
    assert grade(course, "remote") == (0, local)


@pytest.mark.slow
def test_a_submission_that_ends_its_worker_again_and_again_costs_nobody_else_anything(course, dask):
    shutil.rmtree(course / "submitted")
    others = {name: CLASS[name] for name in ("good", "wrong", "other-1")}
    write_class(course, {"killer": KILLER, **others})
    poison = course / "poison"
    poison.mkdir()
    (poison / "sitecustomize.py").write_text(POISON)
    for _ in range(2):
        dask.worker(PYTHONPATH=str(poison))
    status, table = grade(course, "remote", "--scheduler", dask.address)
    assert status == 0
    assert "ended the grading process" in table["killer"]["toy"]["exercises"]["softplus"]["message"]
    marks = {student: own["toy"]["score"] for student, own in table.items()}
    assert marks == {"good": 6, "wrong": 3, "other-1": 6, "killer": 0}


@pytest.mark.slow
def test_a_worker_with_another_hidden_test_grades_nothing(course, dask, tmp_path, capsys):
    other = tmp_path / "other_course"
    shutil.copytree(TOY, other)
    path = other / "autograder" / "assignments" / "toy" / "tests" / "test_softplus.py"
    path.write_text(path.read_text() + "\n# changed\n")
    dask.worker("--no-nanny", GRADATIM_COURSE=str(other))
    arguments = ["grade", str(course), "--quiet", "--state", str(course / "s"), "--scheduler", dask.address]
    assert main(arguments) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith(
        "autograder: a worker of the cluster has another version of the assignment toy; bring"
    )
    assert results(course, "s") == 0


@pytest.mark.slow
def test_a_plain_assignment_travels_with_its_files(tmp_path, monkeypatch):
    monkeypatch.setenv("GRADATIM_COURSE", str(TOY))
    own = tmp_path / "class"
    source = {"grade_id": "sum", "grade": True, "locked": True, "solution": False, "points": 2}
    test = submissions.cell("assert total() == 6")
    test["metadata"]["nbgrader"] = {**source, "schema_version": 3, "task": False}
    answer = submissions.cell("def total():\n    return sum(map(int, open('numbers.txt')))", "total")
    answer["metadata"]["nbgrader"] |= {"locked": False, "task": False}
    for cell in (test, answer):
        cell["id"] = cell["metadata"]["nbgrader"]["grade_id"]
    raw = submissions.notebook(answer, test, nbformat_minor=5)
    for path in (own / "source" / "sums", own / "submitted" / "ann" / "sums"):
        path.mkdir(parents=True)
        (path / "sums.ipynb").write_bytes(raw)
    (own / "source" / "sums" / "numbers.txt").write_text("1\n2\n3\n")
    dask = Dask(tmp_path)
    try:
        dask.worker("--no-nanny")
        status, table = grade(own, "s", "--scheduler", dask.address)
    finally:
        dask.close()
    assert (status, table["ann"]["sums"]["score"]) == (0, 2)


def test_without_the_package_one_sentence_says_what_to_install(course, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "distributed", None)
    assert main(["grade", str(course), "--quiet", "--scheduler", "tcp://localhost:1"]) == 2
    error = capsys.readouterr().err.strip()
    assert error == (
        "autograder: --scheduler needs the package distributed; install it with `pip install distributed`"
    )


def test_an_address_where_nobody_answers_is_named(course, monkeypatch, capsys):
    monkeypatch.setattr(cluster, "CONNECT_SECONDS", 0.5)
    assert main(["grade", str(course), "--quiet", "--scheduler", "tcp://127.0.0.1:1"]) == 2
    error = capsys.readouterr().err.strip()
    assert error.startswith("autograder: no Dask scheduler answers at tcp://127.0.0.1:1: ")
    assert "\n" not in error


def test_no_log_can_show_the_secret_or_a_submission():
    order = cluster.Order("toy", "toy", {}, {}, b"the answer", b"the secret", {"x": b"the files"})
    assert repr(order) == "Order(assignment='toy', notebook='toy', version={}, sandbox={})"


def test_a_file_that_would_leave_its_folder_is_not_written(tmp_path):
    order = cluster.Order("p", "p", {"the instructor's files": "d"}, {}, b"", b"", {"../out.txt": b"x"})
    with pytest.raises(AssignmentError, match="outside its folder"):
        cluster._Desk()._folder(order)


@pytest.mark.parametrize(
    ("address", "clear"),
    [
        ("tcp://10.0.0.1:8786", True),
        ("scheduler:8786", True),
        ("tls://10.0.0.1:8786", False),
        ("tcp://127.0.0.1:8786", False),
        ("tcp://[::1]:8786", False),
        ("tcp://localhost:8786", False),
    ],
)
def test_an_open_line_to_another_machine_is_noticed(address, clear):
    assert cluster._in_the_clear(address) is clear
