"""Every command that the instructions show exists, and every file that they link to is there."""

import re
import shlex
from pathlib import Path

import pytest
from nbgrader.apps.nbgraderapp import NbGraderApp

from autograder.cli import _parser

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = ("README.md", "CONTRIBUTING.md", "book/instructors.md")
TARGETS = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))


def commands():
    for name in DOCUMENTS:
        for block in re.findall(r"```console\n(.*?)```", (ROOT / name).read_text(), re.DOTALL):
            yield from block.strip().splitlines()


@pytest.mark.parametrize("line", sorted(set(commands())))
def test_a_shown_command_exists(line):
    words = shlex.split(line)
    if words[0] == "make":
        assert set(words[1:]) <= TARGETS
    elif words[0] == "autograder":
        _parser().parse_args(words[1:])  # exits on an unknown command or option
    elif words[0] == "pip":
        assert (ROOT / re.sub(r"\[.*", "", words[-1]) / "pyproject.toml").is_file()
    elif words[0] == "nbgrader":
        assert words[1] in NbGraderApp().subcommands
    elif words[0] != "cd":
        assert words[:2] == ["jupyter", "lab"]
        assert all((ROOT / w).is_file() for w in words[2:])


@pytest.mark.parametrize("name", DOCUMENTS)
def test_what_is_linked_is_there(name):
    for target in re.findall(r"\]\(([^)#:]+)\)", (ROOT / name).read_text()):
        assert (ROOT / target).exists(), target


@pytest.mark.parametrize(
    "path", ["book", "solutions", "autograder", "lib", "environment.yml", "_config.yml", "README.md"]
)
def test_the_top_level_is_the_agreed_one(path):
    assert (ROOT / path).exists()


def test_every_make_target_is_explained():
    explained = set(re.findall(r"^## make (\w+)", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert explained == TARGETS - {"help"}
