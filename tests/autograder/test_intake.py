"""`autograder ingest`: what an LMS gives, and what a student may have put into it."""

import bz2
import gzip
import hashlib
import io
import json
import os
import struct
import tarfile
import zipfile
from datetime import UTC, datetime
from pathlib import Path

import pytest

from autograder import intake, unpack
from autograder.arrival import arrival_time
from autograder.cli import main
from autograder.ingest import scan
from autograder.lms import origin_of, resubmission, student_id

NOTEBOOK = b'{"cells": [], "nbformat": 4, "nbformat_minor": 4, "metadata": {}}'
OTHER = NOTEBOOK.replace(b"[]", b"[ ]")
ANN = "Ann Lee_101_assignsubmission_file_/"
BOB = "Bob Ray_102_assignsubmission_file_/"
TOY = Path(__file__).parent / "toy_course"


def zipped(
    files: dict[str, bytes] | list[tuple[str | zipfile.ZipInfo, bytes]], method=zipfile.ZIP_DEFLATED
) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive:
        for name, content in files.items() if isinstance(files, dict) else files:
            archive.writestr(name, content, method)
    return out.getvalue()


def tarred(
    files: dict[str, bytes], *extra: tuple[tarfile.TarInfo, bytes], gz: bool = True, **options
) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz" if gz else "w", **options) as archive:
        for info, content in (*[(tarfile.TarInfo(n), c) for n, c in files.items()], *extra):
            info.size = len(content) if info.isreg() else 0
            archive.addfile(info, io.BytesIO(content))
    return out.getvalue()


def special(name: str, kind: bytes, target: str = "") -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info, b""


def unix(name: str, mode: int) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    info.create_system, info.external_attr = 3, mode << 16
    return info


@pytest.fixture
def course(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A course with the toy assignment released into it, as far as taking in needs it."""
    monkeypatch.setenv("GRADATIM_COURSE", str(TOY))
    course = tmp_path / "course"
    (course / "submitted").mkdir(parents=True)
    return course


def ingest(
    course: Path, *downloads: bytes | Path, name: str = "download.zip", options: tuple[str, ...] = ()
) -> int:
    paths = []
    for number, content in enumerate(downloads):
        path = content if isinstance(content, Path) else course.parent / f"in{number}" / name
        if isinstance(content, bytes):
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(content)
        paths.append(str(path))
    return main(["ingest", *paths, str(course), "--assignment", "toy", *options])


def handed_in(course: Path, student: str = "Ann-Lee") -> bytes | None:
    path = course / "submitted" / student / "toy" / "toy.ipynb"
    return path.read_bytes() if path.is_file() else None


def events(course: Path) -> list[dict]:
    return [json.loads(line) for line in (course / ".autograder" / "audit.jsonl").read_text().splitlines()]


def whole_tree(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


# --- the two LMSs ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "student"),
    [
        ("Ann Lee_101_assignsubmission_file_/toy.ipynb", "Ann-Lee"),
        ("Ann Lee_101_assignsubmission_file/toy.ipynb", "Ann-Lee"),
        ("Ann Lee_101_assignsubmission_file_toy.ipynb", "Ann-Lee"),
        ("Group 1-Ann Lee_101_assignsubmission_file_/work/toy.ipynb", "Group-1-Ann-Lee"),
        ("Zoë O'Brien_101_assignsubmission_file_/toy.ipynb", "Zoë-O-Brien"),
        ("Participant_101_assignsubmission_file_/toy.ipynb", "Participant"),
        ("leeann_12345_67890_toy.ipynb", "leeann"),
        ("leeann_12345_67890_toy-1.ipynb", "leeann"),
        ("leeann_LATE_12345_67890_toy-12.ipynb", "leeann"),
        ("leeann_12345_67890_my_toy_2.ipynb", "leeann"),
        ("submissions/leeann_12345_67890_toy.ipynb", "leeann"),
    ],
)
def test_each_lms_name_leads_to_its_student(course, name, student):
    assert ingest(course, zipped({name: NOTEBOOK})) == 0
    assert handed_in(course, student) == NOTEBOOK
    assert [(f.student, f.refusal) for f in scan(course)] == [(student, None)]


def test_canvas_names_are_read_part_by_part():
    origin = origin_of(("leeann_LATE_12345_67890_a_b-2.ipynb",))
    assert origin is not None
    assert (origin.name, origin.key, origin.serial, origin.late) == ("leeann", "canvas:12345", 67890, True)
    assert resubmission("a_b-2.ipynb") == ("a_b.ipynb", 2)
    assert resubmission("week-2024.ipynb") == ("week-2024.ipynb", 0)
    assert origin_of(("toy.ipynb",)) is None
    assert student_id("../..") == ""


def test_the_last_of_canvas_numbered_uploads_counts(course):
    files = {f"leeann_12345_{67890 + k}_toy{suffix}.ipynb": c for k, (suffix, c) in enumerate(
        [("", b"first"), ("-1", b"second"), ("-2", NOTEBOOK)])}  # fmt: skip
    assert ingest(course, zipped(files)) == 0
    assert handed_in(course, "leeann") == NOTEBOOK


def test_originals_digests_and_times_are_kept(course):
    download = zipped({ANN + "toy.ipynb": NOTEBOOK, BOB + "work.txt": b"no notebook"})
    assert ingest(course, download) == 1
    digest = hashlib.sha256(download).hexdigest()
    assert (course / ".autograder" / "downloads" / digest).read_bytes() == download
    taken, refused = events(course)
    assert taken["sha256"] == hashlib.sha256(NOTEBOOK).hexdigest()
    assert (taken["download"], taken["download_name"], taken["lms"]) == (digest, "download.zip", "moodle:101")
    assert (taken["file"], taken["outcome"]) == ("toy.ipynb", "taken in")
    assert abs(datetime.now(UTC) - datetime.fromisoformat(taken["at"])).total_seconds() < 60
    assert refused["refused"] == "There is no notebook toy.ipynb."


# --- what goes wrong: (the student's own files, what is taken in, a piece of the sentence) --------------------------

LINK, FIFO, DEVICE = 0o120777, 0o010644, 0o020644
HOSTILE: dict[str, tuple[dict[str, bytes], bytes | None, str]] = {
    "no notebook": ({"essay.docx": b"x"}, None, "no notebook toy.ipynb"),
    "empty archive": ({"w.zip": zipped({})}, None, "no notebook toy.ipynb"),
    "zip": ({"w.zip": zipped({"toy.ipynb": NOTEBOOK})}, NOTEBOOK, ""),
    "zip in folders": ({"w.zip": zipped({"a/b/toy.ipynb": NOTEBOOK})}, NOTEBOOK, ""),
    "tar.gz": ({"w.tar.gz": tarred({"a/toy.ipynb": NOTEBOOK})}, NOTEBOOK, ""),
    "plain tar": ({"w.tar": tarred({"toy.ipynb": NOTEBOOK}, gz=False)}, NOTEBOOK, ""),
    "tar called zip": ({"w.zip": tarred({"toy.ipynb": NOTEBOOK})}, NOTEBOOK, ""),
    "macOS extras": ({"w.zip": zipped({"toy.ipynb": NOTEBOOK, "__MACOSX/._toy.ipynb": b"x", ".DS_Store": b"x",
                                       ".ipynb_checkpoints/toy-checkpoint.ipynb": OTHER})}, NOTEBOOK, ""),
    "zip parent path": ({"w.zip": zipped({"../../toy.ipynb": NOTEBOOK})}, None, "points outside the archive"),
    "zip inner parent path": ({"w.zip": zipped({"a/../../../toy.ipynb": NOTEBOOK})}, None, "points outside"),
    "zip backslash path": ({"w.zip": zipped({"..\\..\\toy.ipynb": NOTEBOOK})}, None, "points outside"),
    "zip absolute path": ({"w.zip": zipped({"/tmp/toy.ipynb": NOTEBOOK})}, None, "absolute path"),
    "zip drive path": ({"w.zip": zipped({"C:\\toy.ipynb": NOTEBOOK})}, None, "absolute path"),
    "zip UNC path": ({"w.zip": zipped({"\\\\host\\toy.ipynb": NOTEBOOK})}, None, "absolute path"),
    "zip line break": ({"w.zip": zipped({"a\nb/toy.ipynb": NOTEBOOK})}, None, "control characters"),
    "zip direction mark": ({"w.zip": zipped({"\u202etoy.ipynb": NOTEBOOK})}, None, "control characters"),
    "zip long name": ({"w.zip": zipped({"x" * 300 + ".ipynb": NOTEBOOK})}, None, "cannot be a file's name"),
    "zip link": ({"w.zip": zipped([(unix("toy.ipynb", LINK), b"/etc/passwd")])}, None, "a symbolic link"),
    "zip pipe": ({"w.zip": zipped([(unix("toy.ipynb", FIFO), b"")])}, None, "a device, a pipe"),
    "zip device": ({"w.zip": zipped([(unix("toy.ipynb", DEVICE), b"")])}, None, "a device, a pipe"),
    "zip link beside": ({"w.zip": zipped([(unix("torch.py", LINK), b"/"), ("toy.ipynb", NOTEBOOK)])}, NOTEBOOK,
                        "a symbolic link"),
    "zip bomb": ({"w.zip": zipped({"toy.ipynb": b"\0" * (4 << 20)})}, None, "more than 200 times its size"),
    "zip in zip": ({"w.zip": zipped({"v.zip": zipped({"toy.ipynb": NOTEBOOK})})}, None, "an archive in an archive"),
    "tar in zip": ({"w.zip": zipped({"v.tgz": tarred({"toy.ipynb": NOTEBOOK})})}, None, "an archive in an archive"),
    "zip in tar": ({"w.tgz": tarred({"v.zip": zipped({"toy.ipynb": NOTEBOOK})})}, None, "an archive in an archive"),
    "zip LZMA": ({"w.zip": zipped({"toy.ipynb": NOTEBOOK}, zipfile.ZIP_LZMA)}, None, "packed in an unusual way"),
    "zip case twins": ({"w.zip": zipped({"toy.ipynb": NOTEBOOK, "TOY.ipynb": OTHER})}, None, "have one name"),
    "zip two folders": ({"w.zip": zipped({"a/toy.ipynb": NOTEBOOK, "b/toy.ipynb": OTHER})}, None, "have one name"),
    "zip two same": ({"w.zip": zipped({"a/toy.ipynb": NOTEBOOK, "b/toy.ipynb": NOTEBOOK})}, NOTEBOOK, ""),
    "zip file beside": ({"toy.ipynb": NOTEBOOK, "w.zip": zipped({"toy.ipynb": OTHER})}, None, "have one name"),
    "zip cut off": ({"w.zip": zipped({"toy.ipynb": NOTEBOOK})[:-30]}, None, "no zip archive"),
    "zip garbage": ({"w.zip": b"PK\x03\x04" + b"x" * 100}, None, "no zip archive"),
    "not an archive": ({"w.zip": b"hello"}, None, "no archive"),
    "7z": ({"w.7z": b"7z\xbc\xaf\x27\x1c" + b"x" * 600}, None, "a 7-Zip archive"),
    "rar": ({"w.rar": b"Rar!\x1a\x07\x00" + b"x" * 600}, None, "a RAR archive"),
    "tar.bz2": ({"w.tar.bz2": bz2.compress(tarred({"toy.ipynb": NOTEBOOK}, gz=False))}, None, "a bzip2 archive"),
    "tar parent path": ({"w.tgz": tarred({"../toy.ipynb": NOTEBOOK})}, None, "points outside the archive"),
    "tar absolute path": ({"w.tgz": tarred({"/toy.ipynb": NOTEBOOK})}, None, "absolute path"),
    "tar link": ({"w.tgz": tarred({}, special("toy.ipynb", tarfile.SYMTYPE, "/etc/passwd"))}, None, "a symbolic link"),
    "tar hard link": ({"w.tgz": tarred({"a.txt": b"x"}, special("toy.ipynb", tarfile.LNKTYPE, "a.txt"))}, None,
                      "a hard link"),
    "tar pipe": ({"w.tgz": tarred({}, special("toy.ipynb", tarfile.FIFOTYPE))}, None, "a named pipe"),
    "tar device": ({"w.tgz": tarred({}, special("toy.ipynb", tarfile.CHRTYPE))}, None, "a device"),
    "tar device beside": ({"w.tgz": tarred({"toy.ipynb": NOTEBOOK}, special("x", tarfile.BLKTYPE))}, NOTEBOOK,
                          "a device"),
    "tar bomb": ({"w.tgz": tarred({"toy.ipynb": b"\0" * (16 << 20)})}, None, "more than 200 times its size"),
    "tar cut off": ({"w.tgz": tarred({"toy.ipynb": os.urandom(9000)})[:5000]}, None, "was cut off"),
    "tar garbage": ({"w.tgz": gzip.compress(b"hello" * 500)}, None, "no tar archive"),
    "gz": ({"toy.ipynb.gz": gzip.compress(NOTEBOOK)}, NOTEBOOK, ""),
    "gz called ipynb": ({"toy.ipynb": gzip.compress(NOTEBOOK)}, NOTEBOOK, ""),
    "gz bomb": ({"toy.ipynb.gz": gzip.compress(b"\0" * (16 << 20))}, None, "more than 200 times its size"),
    "gz cut off": ({"toy.ipynb.gz": gzip.compress(os.urandom(9000))[:5000]}, None, "was cut off"),
    "gz of a text": ({"essay.txt.gz": gzip.compress(b"hello" * 500)}, None, "no notebook toy.ipynb"),
    "gz in gz": ({"toy.ipynb.gz.gz": gzip.compress(gzip.compress(NOTEBOOK))}, None, "an archive in an archive"),
    "tar.gz called gz": ({"w.gz": tarred({"toy.ipynb": NOTEBOOK})}, NOTEBOOK, ""),
    "tar huge name": ({"w.tgz": tarred({"d/" * 100_000 + "toy.ipynb": NOTEBOOK})}, None, "name in it is too long"),
    "tar huge pax": ({"w.tgz": tarred({}, (tarfile.TarInfo("toy.ipynb"), NOTEBOOK),
                                      format=tarfile.PAX_FORMAT, pax_headers={"x": "9" * 200_000})}, None, "too long"),
    "ambiguous": ({"one.ipynb": NOTEBOOK, "two.ipynb": OTHER}, None, "several could be meant"),
    "renamed": ({"homework.ipynb": NOTEBOOK}, NOTEBOOK, ""),
    "renamed copy": ({"toy (1).ipynb": NOTEBOOK}, NOTEBOOK, ""),
    "text ending": ({"toy.ipynb.txt": NOTEBOOK}, NOTEBOOK, ""),
    "JSON ending": ({"w.zip": zipped({"toy.json": NOTEBOOK, "data.json": OTHER})}, NOTEBOOK, ""),
    "zip called ipynb": ({"toy.ipynb": zipped({"a/toy.ipynb": NOTEBOOK})}, NOTEBOOK, ""),
    "rar called ipynb": ({"toy.ipynb": b"Rar!\x1a\x07\x00" + b"x" * 600}, None, "a RAR archive"),
    "zip called ipynb in zip": ({"w.zip": zipped({"toy.ipynb": zipped({"toy.ipynb": NOTEBOOK})})}, None,
                                "an archive in an archive"),
    "damaged notebook": ({"toy.ipynb": b'{"cells": ['}, b'{"cells": [', ""),
    "empty notebook": ({"toy.ipynb": b""}, b"", ""),
}  # fmt: skip


@pytest.mark.parametrize("case", sorted(HOSTILE))
def test_one_students_faulty_hand_in_is_refused_by_name_and_the_class_goes_on(course, case, capsys):
    files, expected, sentence = HOSTILE[case]
    archive = zipped(
        {**{ANN + name: content for name, content in files.items()}, BOB + "toy.ipynb": NOTEBOOK}
    )
    status = ingest(course, archive)
    printed = capsys.readouterr()
    assert handed_in(course) == expected
    assert handed_in(course, "Bob-Ray") == NOTEBOOK
    assert status == (1 if sentence else 0)
    refused = [e["refused"] for e in events(course) if e["outcome"] == "refused"]
    assert bool(refused) == bool(sentence)
    assert sentence in " ".join(refused)
    assert sentence in printed.out
    assert "Traceback" not in printed.err
    # Nothing lies anywhere but under names of ours.
    names = {
        p.relative_to(course / "submitted").as_posix()
        for p in (course / "submitted").rglob("*")
        if p.is_file()
    }
    hers = "Ann-Lee/toy/" + ("toy.ipynb" if expected is not None else ".ingest-refused")
    assert names == {hers, "Bob-Ray/toy/toy.ipynb"}
    # The grader sees both, and tells her why.
    ann, bob = scan(course)
    assert bob.refusal is None
    assert (ann.refusal is None) == (expected is not None)
    if expected is None:
        assert sentence in (ann.refusal or "")


def edit(archive: bytes, name: str, central: int, local: int, value: bytes) -> bytes:
    """Change a field in both headers of a zip's member."""
    data = bytearray(archive)
    for signature, offset, at in ((b"PK\x01\x02", 46, central), (b"PK\x03\x04", 30, local)):
        place = data.find(name.encode(), data.find(signature)) - offset
        while data[place : place + 4] != signature:
            place = data.find(name.encode(), place + offset + 1) - offset
        data[place + at : place + at + len(value)] = value
    return bytes(data)


TOY_ZIP = zipped({"toy.ipynb": NOTEBOOK})
FORGED = {
    "encrypted": (edit(TOY_ZIP, "toy.ipynb", 8, 6, b"\x01\x00"), "is encrypted"),
    "wrong checksum": (edit(TOY_ZIP, "toy.ipynb", 16, 14, b"\0\0\0\0"), "is damaged"),
    "size said too small": (edit(TOY_ZIP, "toy.ipynb", 24, 22, struct.pack("<I", 3)), "is damaged"),
    "packed size past the end": (edit(TOY_ZIP, "toy.ipynb", 20, 18, struct.pack("<I", 1 << 20)),
                                "longer than the archive"),
    "two names": (TOY_ZIP.replace(b"toy.ipynb", b"evil.inpy", 1), "is damaged"),
    "name with NUL": (TOY_ZIP.replace(b"toy.ipynb", b"toy\0ipynb"), "control characters"),
    "small size of a bomb": (
        edit(zipped({"toy.ipynb": b"\0" * (4 << 20)}), "toy.ipynb", 24, 22, struct.pack("<I", 100)), "is damaged"),
}  # fmt: skip


@pytest.mark.parametrize("case", sorted(FORGED))
def test_what_a_zip_says_of_itself_is_not_believed(course, case, capsys):
    archive, sentence = FORGED[case]
    assert ingest(course, zipped({ANN + "w.zip": archive, BOB + "toy.ipynb": NOTEBOOK})) == 1
    assert (handed_in(course), handed_in(course, "Bob-Ray")) == (None, NOTEBOOK)
    assert sentence in capsys.readouterr().out


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_name_twice_in_a_zip_is_refused(course, capsys):
    twice = zipped([("toy.ipynb", NOTEBOOK), ("toy.ipynb", OTHER)])
    assert ingest(course, zipped({ANN + "w.zip": twice, BOB + "toy.ipynb": NOTEBOOK})) == 1
    assert handed_in(course) is None
    assert "is in the archive 2 times" in capsys.readouterr().out


def overlapping() -> bytes:
    """Two directory entries for one member: what makes a small archive unpack to anything."""
    archive = zipped({"toy.ipynb": NOTEBOOK})
    start = archive.find(b"PK\x01\x02")
    end = archive.find(b"PK\x05\x06")
    entry = archive[start:end]
    tail = bytearray(archive[end:])
    struct.pack_into("<HHI", tail, 8, 2, 2, 2 * len(entry))
    return archive[:start] + entry + entry.replace(b"toy.ipynb", b"two.ipynb") + bytes(tail)


def test_overlapping_members_are_refused(course, capsys):
    assert ingest(course, zipped({ANN + "w.zip": overlapping(), BOB + "toy.ipynb": NOTEBOOK})) == 1
    assert (handed_in(course), handed_in(course, "Bob-Ray")) == (None, NOTEBOOK)
    assert "overlap" in capsys.readouterr().out


def test_tar_archives_that_lie_about_sizes_or_hold_holes_are_refused(course, capsys):
    sparse = bytearray(tarred({"toy.ipynb": NOTEBOOK}, gz=False, format=tarfile.GNU_FORMAT))
    sparse[156:157] = tarfile.GNUTYPE_SPARSE
    negative = bytearray(tarred({"toy.ipynb": NOTEBOOK}, gz=False, format=tarfile.GNU_FORMAT))
    negative[124:136] = b"\xff" * 12
    for data, sentence in ((sparse, "sparse file"), (negative, "no tar archive")):
        data[148:156] = b" " * 8
        data[148:156] = b"%06o\0 " % sum(data[:512])
        assert ingest(course, zipped({ANN + "w.tar": bytes(data)})) == 1
        assert handed_in(course) is None
        assert sentence in capsys.readouterr().out


def test_many_members_and_much_in_all_are_refused(course, capsys, monkeypatch):
    monkeypatch.setattr(intake, "OWN", unpack.Limits(entries=10, total=3 << 20, file=2 << 20))
    many = zipped({f"{k}.txt": b"" for k in range(11)} | {"toy.ipynb": NOTEBOOK})
    much = {f"{k}.ipynb": os.urandom(1 << 20) for k in range(4)}
    for archive, sentence in (
        (many, "more than 10 files"),
        (zipped({f"{k}.txt": b"" for k in range(2000)}), "more than 10 files"),
        (zipped(much), "more than 3 MiB"),
        (tarred({f"{k}.txt": b"" for k in range(11)}), "more than 10 files"),
        (tarred(much), "more than 3 MiB"),
        (zipped({"toy.ipynb": os.urandom(2 << 20) + b"x"}), "'toy.ipynb' unpacks to more than 2 MiB"),
        (tarred({"toy.ipynb": os.urandom(2 << 20) + b"x"}), "'toy.ipynb' unpacks to more than 2 MiB"),
    ):
        assert ingest(course, zipped({ANN + "w.zip": archive})) == 1
        assert handed_in(course) is None
        assert sentence in capsys.readouterr().out


@pytest.mark.parametrize(
    ("download", "sentence"),
    [
        (b"", "It is no zip archive as Moodle and Canvas give them"),
        (b"hello", "It is no zip archive as Moodle and Canvas give them"),
        (zipped({ANN + "toy.ipynb": NOTEBOOK})[:-20], "is no zip archive, or was cut off"),
        (tarred({ANN + "toy.ipynb": NOTEBOOK}), "It is no zip archive as Moodle and Canvas give them"),
        (zipped({"toy.ipynb": NOTEBOOK}), "'toy.ipynb' does not say whose it is"),
        (zipped({"../" + ANN + "toy.ipynb": NOTEBOOK}), "points outside the archive"),
        (zipped({"_101_assignsubmission_file_/toy.ipynb": NOTEBOOK}), "does not say whose it is"),
        (zipped({"!!!_101_assignsubmission_file_/toy.ipynb": NOTEBOOK}), "'!!!' gives no student id"),
    ],
)
def test_a_faulty_download_is_named_and_the_next_one_is_taken_in(course, download, sentence, capsys):
    assert ingest(course, download, zipped({BOB + "toy.ipynb": NOTEBOOK})) == 1
    assert sentence in capsys.readouterr().out
    assert [p.name for p in (course / "submitted").iterdir()] == ["Bob-Ray"]


# --- who is who -----------------------------------------------------------------------------------------------------


def test_a_map_names_students_by_number_or_name(course, tmp_path, capsys):
    table = tmp_path / "map.csv"
    table.write_text("\ufefflms,student\n101,al1\nray bob,br2\n\n", encoding="utf-8")
    files = {ANN + "toy.ipynb": NOTEBOOK, "Ray Bob_7_assignsubmission_file_/toy.ipynb": NOTEBOOK,
             "Cy_9_assignsubmission_file_/toy.ipynb": NOTEBOOK}  # fmt: skip
    assert ingest(course, zipped(files), options=("--map", str(table))) == 1
    assert sorted(p.name for p in (course / "submitted").iterdir()) == ["al1", "br2"]
    assert "'Cy' (9) is not in the map file." in capsys.readouterr().out


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("a,b\n1\n", "map.csv, line 2: it must be an LMS id or name and a student id, got '1'"),
        ("1,../up\n", "map.csv, line 1: it must be"),
        ("1,ann\n1,bob\n", "map.csv, line 2: '1' means two students"),
        ("\xff\xfe,x", "map.csv: it must be a CSV file in UTF-8"),
    ],
)
def test_a_faulty_map_gives_one_sentence(course, tmp_path, text, sentence, capsys):
    (tmp_path / "map.csv").write_bytes(text.encode("latin-1"))
    assert ingest(course, zipped({}), options=("--map", str(tmp_path / "map.csv"))) == 2
    error = capsys.readouterr().err.strip()
    assert sentence in error
    assert "\n" not in error


def test_two_people_of_one_name_are_told_apart_or_refused(course, capsys):
    twin = "Ann Lee_555_assignsubmission_file_/toy.ipynb"
    assert ingest(course, zipped({ANN + "toy.ipynb": NOTEBOOK, twin: OTHER})) == 1
    assert handed_in(course) == NOTEBOOK
    assert "(555) would be 'Ann-Lee', as 101 is" in capsys.readouterr().out
    assert ingest(course, zipped({"ANN LEE_777_assignsubmission_file_/toy.ipynb": OTHER})) == 1
    assert "The class has a student 'Ann-Lee'" in capsys.readouterr().out
    assert handed_in(course) == NOTEBOOK


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("toy.ipynb", NOTEBOOK),
        ("work.zip", zipped({"d/toy.ipynb": NOTEBOOK})),
        ("work.tar.gz", tarred({"toy.ipynb": NOTEBOOK})),
    ],
)
def test_one_students_own_file_needs_no_lms(course, name, content):
    assert ingest(course, content, name=name, options=("--student", "ann@uni.edu")) == 0
    assert handed_in(course, "ann@uni.edu") == NOTEBOOK


def test_the_file_with_the_assignments_cells_is_meant(course):
    ours = {"cell_type": "code", "source": "", "metadata": {"nbgrader": {"grade_id": "softplus"}}}
    with_cells = json.dumps({"cells": [ours], "nbformat": 4, "nbformat_minor": 4, "metadata": {}}).encode()
    assert ingest(course, zipped({ANN + "one.ipynb": NOTEBOOK, ANN + "two.ipynb": with_cells})) == 0
    assert handed_in(course) == with_cells
    copies = {"toy (1).ipynb": with_cells, "toy (2).ipynb": with_cells, "x.ipynb": NOTEBOOK}
    assert ingest(course, zipped({BOB + name: content for name, content in copies.items()})) == 0
    assert handed_in(course, "Bob-Ray") == with_cells


# --- again, newer, interrupted --------------------------------------------------------------------------------------


def test_a_second_run_changes_nothing(course, capsys):
    download = zipped({ANN + "toy.ipynb": NOTEBOOK, BOB + "w.zip": b"hello"})
    ingest(course, download)
    before = whole_tree(course)
    capsys.readouterr()
    assert ingest(course, download) == 1
    assert whole_tree(course) == before
    assert "1 unchanged, 1 refused" in capsys.readouterr().out


def test_a_newer_hand_in_replaces_and_the_older_is_kept(course):
    first, second = zipped({ANN + "toy.ipynb": NOTEBOOK}), zipped({ANN + "toy.ipynb": OTHER})
    assert ingest(course, first, second) == 0
    assert handed_in(course) == OTHER
    (older,) = (course / ".autograder" / "older" / "Ann-Lee" / "toy").iterdir()
    assert older.read_bytes() == NOTEBOOK
    before = whole_tree(course)
    assert ingest(course, first) == 0  # run by mistake: the newer one stands
    assert whole_tree(course) == before
    back = zipped({ANN + "toy.ipynb": NOTEBOOK, ANN + "note.txt": b"the first was better"})
    assert ingest(course, back) == 0
    assert handed_in(course) == NOTEBOOK


def test_canvas_numbers_tell_an_older_upload_in_any_order(course, capsys):
    newer, older = "leeann_1_20_toy-1.ipynb", "leeann_1_10_toy.ipynb"
    assert ingest(course, zipped({newer: OTHER}), zipped({older: NOTEBOOK})) == 0
    assert handed_in(course, "leeann") == OTHER
    assert "older" in capsys.readouterr().out


def test_a_refused_hand_in_leaves_the_accepted_one(course):
    assert ingest(course, zipped({ANN + "toy.ipynb": NOTEBOOK}), zipped({ANN + "w.rar": b"Rar!"})) == 1
    assert handed_in(course) == NOTEBOOK
    (file,) = scan(course)
    assert file.refusal is None


def test_a_good_hand_in_after_a_refused_one_is_graded(course):
    assert ingest(course, zipped({ANN + "w.rar": b"Rar!"}), zipped({ANN + "toy.ipynb": NOTEBOOK})) == 1
    assert [f.refusal for f in scan(course)] == [None]
    assert not list((course / "submitted").rglob(".ingest-refused"))


def test_what_is_in_the_way_is_left_and_named(course, tmp_path, capsys):
    (tmp_path / "elsewhere").mkdir()
    (course / "submitted" / "Ann-Lee").symlink_to(tmp_path / "elsewhere")
    (course / "submitted" / "Bob-Ray" / "toy" / "toy.ipynb").mkdir(parents=True)
    assert ingest(course, zipped({ANN + "toy.ipynb": NOTEBOOK, BOB + "toy.ipynb": NOTEBOOK})) == 1
    assert not list((tmp_path / "elsewhere").iterdir())
    assert capsys.readouterr().out.count("is in the way") == 2


@pytest.mark.parametrize("stop", range(12))
def test_an_interruption_at_any_step_leaves_whole_files_and_the_next_run_finishes(course, stop, monkeypatch):
    first = zipped({ANN + "toy.ipynb": NOTEBOOK, BOB + "toy.ipynb": NOTEBOOK})
    second = zipped({ANN + "toy.ipynb": OTHER, BOB + "toy.ipynb": OTHER})
    ingest(course, first)
    steps = 0

    def watched(step):
        def run(*arguments, **options):
            nonlocal steps
            steps += 1
            if steps == stop + 1:
                raise KeyboardInterrupt
            return step(*arguments, **options)

        return run

    with monkeypatch.context() as patch:
        for name in ("replace", "fsync"):
            patch.setattr(os, name, watched(getattr(os, name)))
        status = ingest(course, second)
    assert status in (0, 130)
    for student in ("Ann-Lee", "Bob-Ray"):
        assert handed_in(course, student) in (NOTEBOOK, OTHER)
    assert ingest(course, second) == 0
    for student in ("Ann-Lee", "Bob-Ray"):
        assert handed_in(course, student) == OTHER
        kept = list((course / ".autograder" / "older" / student / "toy").iterdir())
        assert [p.read_bytes() for p in kept] == [NOTEBOOK]
    assert not list(course.rglob(".part-*"))
    assert all(e["event"] == "ingest" for e in events(course))


def test_a_torn_line_in_the_log_is_passed_over(course):
    ingest(course, zipped({ANN + "toy.ipynb": NOTEBOOK}))
    log = course / ".autograder" / "audit.jsonl"
    log.write_bytes(log.read_bytes() + b'{"event": "ing')
    assert ingest(course, zipped({ANN + "toy.ipynb": OTHER})) == 0
    assert json.loads(log.read_text().splitlines()[-1])["outcome"] == "replaced"


# --- times ----------------------------------------------------------------------------------------------------------


def test_times_are_the_servers_unless_the_instructor_gives_one(course):
    files = {"leeann_1_10_toy.ipynb": NOTEBOOK, "raybob_LATE_2_11_toy.ipynb": OTHER}
    assert ingest(course, zipped(files), options=("--received", "2026-03-01T18:00+01:00")) == 0
    ann, bob = (arrival_time(file, course / ".autograder") for file in scan(course))
    assert ann == datetime(2026, 3, 1, 17, tzinfo=UTC)
    assert bob is not None
    assert abs((datetime.now(UTC) - bob).total_seconds()) < 300


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (("--received", "2999-01-01"), "--received: 2999-01-01 00:00 UTC is still to come"),
        (("--student", "../ann"), "--student: '../ann' cannot be a student's id"),
        (("--assignment", "no_such"), "assignment must be one of toy, got 'no_such'"),
    ],
)
def test_bad_options_give_one_sentence(course, options, sentence, capsys):
    assert ingest(course, zipped({}), options=options) == 2
    assert sentence in capsys.readouterr().err


def test_a_missing_download_stops_before_anything_is_taken_in(course, tmp_path, capsys):
    assert ingest(course, zipped({ANN + "toy.ipynb": NOTEBOOK}), tmp_path / "no.zip") == 2
    assert "no such file or directory" in capsys.readouterr().err
    os.mkfifo(tmp_path / "pipe.zip")
    assert ingest(course, zipped({ANN + "toy.ipynb": NOTEBOOK}), tmp_path / "pipe.zip") == 2
    assert "it is no file" in capsys.readouterr().err
    assert not list((course / "submitted").iterdir())
