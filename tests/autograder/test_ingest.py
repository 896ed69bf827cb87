import json
import os
import pickle
import socket
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from autograder import ingest
from autograder.ingest import Refused, audit_line, find_submission, safe_name, scan


@pytest.fixture
def course(tmp_path: Path) -> Path:
    """A course with one plain assignment of one notebook."""
    put(tmp_path / "source" / "ps" / "ps.ipynb")
    return tmp_path


def put(path: Path, content: bytes = b'{"cells": []}') -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def only(course: Path) -> ingest.SubmittedFile:
    (file,) = scan(course)
    return file


def test_course_directory_and_submitted_directory_give_the_same(course):
    put(course / "submitted" / "ann" / "ps" / "ps.ipynb")
    assert scan(course) == scan(course / "submitted")
    file = only(course)
    assert (file.student, file.assignment, file.path.stem) == ("ann", "ps", "ps")
    assert file.read() == b'{"cells": []}'
    assert pickle.loads(pickle.dumps(file)).read() == b'{"cells": []}'


def test_students_folders_may_lie_in_any_directory(tmp_path):
    put(tmp_path / "ann" / "hw1" / "one.ipynb")
    put(tmp_path / "ann" / "hw1" / "two.ipynb")
    assert [f.path.stem for f in scan(tmp_path)] == ["one", "two"]


def test_the_time_is_the_servers(course):
    path = put(course / "submitted" / "ann" / "ps" / "ps.ipynb")
    put(path.parent / "timestamp.txt", b"2001-01-01 00:00:00 UTC\n")
    os.utime(path, (0, 0))
    file = only(course)
    received = datetime.fromisoformat(file.received)
    assert abs(datetime.now(UTC) - received) < timedelta(minutes=5)
    assert file.claimed == "2001-01-01 00:00:00 UTC"


@pytest.mark.parametrize("kind", ["link", "dangling", "folder", "pipe", "socket"])
def test_what_is_no_regular_file_is_refused_by_name(course, kind, monkeypatch):
    path = course / "submitted" / "ann" / "ps" / "ps.ipynb"
    path.parent.mkdir(parents=True)
    if kind == "link":
        path.symlink_to(put(course / "secret.ipynb"))
    elif kind == "dangling":
        path.symlink_to("nowhere")
    elif kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    else:
        monkeypatch.chdir(path.parent)
        with socket.socket(socket.AF_UNIX) as handle:
            handle.bind("ps.ipynb")
    put(course / "submitted" / "bob" / "ps" / "ps.ipynb")
    refused, good = scan(course)
    assert "'ps.ipynb' is a " in refused.refusal
    with pytest.raises(Refused):
        refused.read()
    assert good.refusal is None


def test_large_and_sparse_files_are_refused_unread(course):
    path = put(course / "submitted" / "ann" / "ps" / "ps.ipynb")
    os.truncate(path, 1 << 40)
    assert "larger than" in only(course).refusal


@pytest.mark.parametrize("level", ["student", "assignment"])
def test_linked_folders_are_refused_and_the_rest_is_read(course, level):
    put(course / "submitted" / "bob" / "ps" / "ps.ipynb")
    if level == "student":
        (course / "submitted" / "ann").symlink_to("bob")
    else:
        (course / "submitted" / "ann").mkdir()
        (course / "submitted" / "ann" / "ps").symlink_to("../bob/ps")
    refused, good = scan(course)
    assert (refused.student, refused.assignment) == ("ann", "ps")
    assert "is a symbolic link, not a folder" in refused.refusal
    assert good.refusal is None


def test_a_file_swapped_for_a_link_after_the_scan_is_not_followed(course):
    path = put(course / "submitted" / "ann" / "ps" / "ps.ipynb")
    file = only(course)
    path.unlink()
    path.symlink_to(put(course / "secret.ipynb", b"secret"))
    with pytest.raises(Refused, match="symbolic link"):
        file.read()
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(Refused, match="named pipe"):
        file.read()


def test_a_folder_swapped_for_a_link_after_the_scan_is_not_followed(course):
    put(course / "submitted" / "ann" / "ps" / "ps.ipynb")
    file = only(course)
    (course / "submitted" / "ann" / "ps").rename(course / "elsewhere")
    (course / "submitted" / "ann" / "ps").symlink_to(course / "elsewhere")
    with pytest.raises(Refused, match="symbolic link"):
        file.read()


@pytest.mark.parametrize(
    "name",
    [
        "ps (1).ipynb",
        "PS.ipynb",
        "ps-Copy1.ipynb",
        "miller_ps_final.ipynb",
        "p s.ipynb",
        "hw.ipynb",
        "ps.ipynb.txt",
        "ps.json",
        "ps.ipynb ",
    ],
)
def test_a_renamed_notebook_is_matched_where_only_one_can_be_meant(course, name):
    put(course / "submitted" / "ann" / "ps" / name)
    file = only(course)
    assert file.path.name == "ps.ipynb"
    assert file.actual == name
    assert file.read() == b'{"cells": []}'
    assert "was taken for ps.ipynb" in file.notes[0]


def test_an_ambiguous_renaming_is_refused(course):
    for name in ("one.ipynb", "two.ipynb"):
        put(course / "submitted" / "ann" / "ps" / name, name.encode())
    assert "several could be meant: 'one.ipynb', 'two.ipynb'" in only(course).refusal


def test_what_could_be_meant_is_not_called_foreign(course):
    for name in ("ps (1).ipynb", "ps (2).ipynb", "other.ipynb"):
        put(course / "submitted" / "ann" / "ps" / name, name.encode())
    assert only(course).notes == ("'other.ipynb' was ignored: it is no notebook of this assignment.",)


@pytest.mark.parametrize("data", ["data.json", "ps.json"])
def test_a_data_file_is_never_taken_for_a_renamed_notebook(course, data):
    put(course / "submitted" / "ann" / "ps" / "ps_final.ipynb")
    put(course / "submitted" / "ann" / "ps" / data)
    assert only(course).actual == "ps_final.ipynb"


@pytest.mark.parametrize("name", ["ps.ipynb", "ps (1).ipynb"])
def test_a_notebook_beside_its_folder_is_refused_not_forgotten(course, name):
    put(course / "submitted" / "ann" / name)
    put(course / "submitted" / "bob" / "ps" / "ps.ipynb")
    put(course / "submitted" / "bob" / "ps.ipynb")
    stray, good = scan(course)
    assert (stray.student, stray.assignment) == ("ann", "ps")
    assert stray.refusal == f"'{name}' lies beside the folder ps/; move it into that folder."
    assert good.refusal is None


@pytest.mark.parametrize("name", ["PS", "ps (1)", "p s"])
def test_a_folder_nearly_of_an_assignment_s_name_is_refused_for_it(course, name):
    put(course / "submitted" / "ann" / name / "ps.ipynb")
    put(course / "submitted" / "bob" / "ps" / "ps.ipynb")
    put(course / "submitted" / "bob" / name / "ps.ipynb")
    stray, good = scan(course)
    assert (stray.student, stray.assignment) == ("ann", "ps")
    assert stray.refusal == f"The folder '{name}' must be called ps."
    assert good.refusal is None


def test_the_right_name_wins_and_copies_are_ignored(course):
    put(course / "submitted" / "ann" / "ps" / "ps.ipynb", b"right")
    put(course / "submitted" / "ann" / "ps" / "ps (1).ipynb", b"wrong")
    file = only(course)
    assert file.read() == b"right"
    assert "'ps (1).ipynb' was ignored" in file.notes[0]


def test_equal_copies_are_not_several(course):
    for name in ("ps (1).ipynb", "ps (2).ipynb"):
        put(course / "submitted" / "ann" / "ps" / name, b"one")
    file = only(course)
    assert file.read() == b"one"
    assert file.notes == ("'ps (1).ipynb' was taken for ps.ipynb.", "'ps (2).ipynb' is a copy of it.")
    put(course / "submitted" / "ann" / "ps" / "ps (2).ipynb", b"two")
    assert "several could be meant" in only(course).refusal


@pytest.mark.parametrize("name", ["ps/ps.ipynb", "hand-in/ps (1).ipynb", "x/mine.ipynb"])
def test_a_notebook_one_folder_too_deep_is_found(course, name):
    put(course / "submitted" / "ann" / "ps" / name, b"deep")
    put(course / "submitted" / "ann" / "ps" / "__MACOSX" / "ps.ipynb", b"junk")
    file = only(course)
    assert file.read() == b"deep"
    assert file.path == course / "submitted" / "ann" / "ps" / "ps.ipynb"
    assert file.notes[-1] == f"'{name}' was taken for ps.ipynb."


def test_folders_within_a_submission_must_agree_and_are_no_links(course):
    folder = course / "submitted" / "ann" / "ps"
    put(folder / "a" / "ps.ipynb", b"one")
    put(folder / "b" / "ps.ipynb", b"one")
    assert only(course).read() == b"one"
    put(folder / "b" / "ps.ipynb", b"two")
    assert "several could be meant: 'a/ps.ipynb', 'b/ps.ipynb'" in only(course).refusal
    put(folder / "ps.ipynb", b"in its place")
    assert only(course).read() == b"in its place"
    put(course / "elsewhere" / "ps.ipynb", b"not theirs")
    (course / "submitted" / "bob" / "ps").mkdir(parents=True)
    (course / "submitted" / "bob" / "ps" / "ps").symlink_to(course / "elsewhere")
    assert scan(course)[1].refusal == "No notebook ps.ipynb was handed in."


@pytest.mark.parametrize("name", ["ps.ipynb.gz", "ps.zip", "work.tar.gz"])
def test_an_archive_for_a_notebook_is_named(course, name):
    put(course / "submitted" / "ann" / "ps" / name, b"\x1f\x8b")
    assert only(course).refusal == f"'{name}' is an archive, not a notebook; hand in the .ipynb file itself."


def test_a_submission_without_notebook_is_refused_by_name(course):
    (course / "submitted" / "ann" / "ps").mkdir(parents=True)
    assert only(course).refusal == "No notebook ps.ipynb was handed in."


def test_modules_beside_the_notebook_are_ignored_and_named(course):
    path = put(course / "submitted" / "ann" / "ps" / "ps.ipynb")
    put(path.parent / "torch.py", b"")
    put(path.parent / "data.csv", b"")
    put(path.parent / ".ipynb_checkpoints" / "ps-checkpoint.ipynb")
    notes = only(course).notes
    assert len(notes) == 2
    assert notes[1] == "'torch.py' (a module that would stand in for an installed one) was ignored."


def test_hidden_names_bad_names_and_stray_files_do_not_stop_the_class(course):
    put(course / "submitted" / "ann" / "ps" / "ps.ipynb")
    put(course / "submitted" / "readme.txt")
    put(course / "submitted" / ".cache" / "ps" / "ps.ipynb")
    put(course / "submitted" / "a*b" / "ps" / "ps.ipynb")
    os.makedirs(os.fsencode(course / "submitted") + b"/bad\xff/ps")
    files = {f.student: f.refusal for f in scan(course)}
    assert files["ann"] is None
    assert "cannot be a student's" in files["a*b"]
    assert "cannot be a student's" in files["bad?"]
    assert len(files) == 3


@pytest.mark.parametrize(
    "name", ["", ".", "..", ".x", "-x", "a/b", "a\nb", "a*", "x" * 129, " a", "a\u202eb"]
)
def test_unsafe_names(name):
    assert not safe_name(name)


def test_safe_names():
    assert all(safe_name(n) for n in ("ann", "ann.miller@uni.edu", "José Ñ", "12345", "a-b_c+d"))


def test_unreadable_permission_is_a_refusal_not_a_crash(course):
    path = put(course / "submitted" / "ann" / "ps" / "ps.ipynb")
    path.chmod(0)
    if os.geteuid() != 0:
        with pytest.raises(Refused, match="could not be read"):
            only(course).read()


def test_many_files_are_listed_briefly(course):
    path = put(course / "submitted" / "ann" / "ps" / "ps.ipynb")
    for k in range(100):
        put(path.parent / f"file{k}.txt")
    notes = only(course).notes
    assert len(notes) == ingest.MAX_NOTES
    assert "more files" in notes[-1]


def test_one_submission_is_found_alone(course):
    put(course / "submitted" / "ann" / "ps" / "ps.ipynb")
    put(course / "submitted" / "bob" / "ps" / "ps.ipynb")
    assert [f.student for f in find_submission(course, "ann", "ps")] == ["ann"]
    assert "could not be opened" in find_submission(course, "eve", "ps")[0].refusal


def test_the_audit_line_names_digest_or_refusal(course):
    put(course / "submitted" / "ann" / "ps" / "ps.ipynb", b"abc")
    (course / "submitted" / "bob" / "ps").mkdir(parents=True)
    first, second = (json.loads(audit_line(f)) for f in scan(course))
    assert first["sha256"].startswith("ba7816bf8f01cfea")
    assert "refused" not in first
    assert second["refused"] == "No notebook ps.ipynb was handed in."
