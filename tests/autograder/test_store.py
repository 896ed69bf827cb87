"""The result store: whole files, keys without collisions, damage counted as absence."""

import pytest

from autograder.store import ResultStore, store_key, write_whole
from autograder.verdict import SubmissionVerdict

VERDICT = SubmissionVerdict("losses", (), message="m")


def test_what_is_put_comes_back(tmp_path):
    store = ResultStore(tmp_path)
    key = store_key(["a"])
    assert store.get(key) is None
    store.put(key, VERDICT)
    assert store.get(key) == VERDICT


def test_no_two_sequences_share_a_key():
    keys = [store_key(p) for p in (["ab", "c"], ["a", "bc"], ["abc"], ["abc", ""], [], [""], ["\ud83d"])]
    assert len(set(keys)) == len(keys)


@pytest.mark.parametrize("damage", [b"", b"{", b"\xff\xfe", b'{"exercises": []}'])
def test_a_damaged_verdict_counts_as_absent(tmp_path, damage):
    store = ResultStore(tmp_path)
    key = store_key(["a"])
    store.put(key, VERDICT)
    (path,) = tmp_path.rglob("*.json")
    path.write_bytes(damage)
    assert store.get(key) is None


def test_an_interrupted_write_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "f"
    write_whole(path, b"old")
    monkeypatch.setattr("os.replace", lambda a, b: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        write_whole(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("target", ["a folder", "nowhere"])
def test_an_error_names_the_path_that_was_asked_for(tmp_path, target, monkeypatch):
    path = tmp_path / target
    if target == "a folder":
        path.mkdir()
    else:
        monkeypatch.setattr("tempfile.mkstemp", refuse)
    with pytest.raises((IsADirectoryError, FileNotFoundError)) as caught:
        write_whole(path, b"x")
    assert caught.value.filename == str(path)
    assert list(tmp_path.iterdir()) == ([path] if target == "a folder" else [])


def refuse(**_):
    raise FileNotFoundError(2, "No such file or directory", "/elsewhere/.part-1")
