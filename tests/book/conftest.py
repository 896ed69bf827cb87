"""The built book. Cells come from the cache of the last build, so a build without changes takes seconds."""

import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


class Page(HTMLParser):
    """What the tests ask of a page: its elements (tag, attributes) in order, and its ids."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path
        self.text = path.read_text(encoding="utf-8")
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.feed(self.text)
        self.ids = [a["id"] for _, a in self.elements if a.get("id")]

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, {name: value or "" for name, value in attrs}))

    def attributes(self, tag: str, name: str) -> list[str]:
        return [a[name] for t, a in self.elements if t == tag and name in a]


@pytest.fixture(scope="session")
def site() -> Path:
    """The folder of the built pages; builds them, strict, where they are not fresh."""
    built = subprocess.run(
        [sys.executable, str(ROOT / "tools" / "build_book.py")],
        capture_output=True,
        text=True,
        encoding="utf-8",
        errors="replace",
    )
    if built.returncode:
        pytest.fail(built.stderr.strip() or built.stdout[-2000:], pytrace=False)
    return ROOT / "_build" / "html"


@pytest.fixture(scope="session")
def pages(site) -> dict[str, Page]:
    """Every page: path below the site -> page. (The theme leaves templates of its own in _static.)"""
    paths = [path for path in sorted(site.glob("**/*.html")) if path.relative_to(site).parts[0] != "_static"]
    return {path.relative_to(site).as_posix(): Page(path) for path in paths}


@pytest.fixture(scope="session")
def losses(pages) -> Page:
    return pages["book/losses.html"]
