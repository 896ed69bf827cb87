"""The built pages: links, anchors, nothing from elsewhere, words for every figure, reasons in every quiz."""

import re
from html import unescape
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

ROOT = Path(__file__).resolve().parents[2]

pytestmark = pytest.mark.slow

# Other files point a learner to these; a renamed heading must not break them.
ANCHORS = [
    "mse",
    "robust",
    "cross-entropy",
    "stable",
    "class-weights",
    "ignore-index",
    "label-smoothing",
    "binary",
    "focal",
    "dice",
    "hinge",
    "kl",
    "metric-learning",
    "noise",
    "reductions",
    "metrics",
    "calibration",
    "imbalance",
]
MYTHS = [
    "outliers",
    "negative",
    "dice",
    "focal",
    "bce",
    "softmax",
    "mae-gradient",
    "reduction",
    "broadcasting",
]
EXPERIMENTS = ["robust", "imbalance", "noise", "metric", "calibration"]
SKELETON = [
    "Before you start: three questions",
    "A worked example",
    "Predict, then run",
    "Losses for numbers",
    "Losses for classes",
    "Losses for yes and no",
    "Losses between distributions and between vectors",
    "When the data mislead",
    "The reference implementation, and its proof",
    "Experiments",
    "Myths, each refuted by a run",
    "Conventions: the same name, another number",
    "When to use what",
    "Summary",
    "Quiz",
    "The graded notebook",
    "Sources",
]


def plain(html):
    """The visible text of a piece of HTML, spaces collapsed."""
    return re.sub(r"\s+", " ", unescape(re.sub(r"<[^>]*>", " ", html))).strip()


def test_every_page_of_the_table_of_contents_is_built(pages):
    for name in re.findall(r"(?:file|root): (\S+)", (ROOT / "_toc.yml").read_text()):
        assert f"{name}.html" in pages


@pytest.mark.parametrize("anchor", [f"losses-{a}" for a in ANCHORS])
def test_every_promised_anchor_exists(losses, anchor):
    assert anchor in losses.ids


@pytest.mark.parametrize("anchor", [f"myth-{m}" for m in MYTHS] + [f"experiment-{e}" for e in EXPERIMENTS])
def test_every_myth_and_experiment_has_an_anchor(losses, anchor):
    assert anchor in losses.ids


def test_the_chapter_follows_the_skeleton_in_order(losses):
    article = losses.text.split("<article", 1)[1].split("</article>", 1)[0]
    headings = [plain(h).rstrip("#").strip() for h in re.findall(r"<h2>(.*?)</h2>", article, flags=re.DOTALL)]
    assert headings == SKELETON


def test_every_section_that_exercises_and_checks_name_exists(pages):
    sources = [
        *(ROOT / "autograder" / "assignments").rglob("*.toml"),
        *(ROOT / "autograder" / "assignments").rglob("*.py"),
        *(ROOT / "solutions").glob("*.py"),
        *(ROOT / "lib" / "gradatim" / "checks").rglob("*.py"),
    ]
    found = {
        reference
        for path in sources
        for reference in re.findall(r"([a-z_]+\.html#[\w-]+)", path.read_text(encoding="utf-8"))
    }
    missing = []
    for reference in sorted(found):
        name, anchor = reference.split("#")
        if f"book/{name}" not in pages or anchor not in pages[f"book/{name}"].ids:
            missing.append(reference)
    assert not missing


def test_every_internal_link_leads_somewhere(site, pages):
    broken = []
    for page in pages.values():
        links = page.attributes("a", "href") + page.attributes("link", "href") + page.attributes("img", "src")
        for link in [*links, *page.attributes("script", "src")]:
            parts = urlsplit(link)
            if parts.scheme or link in ("", "#"):
                continue
            target = (page.path.parent / unquote(parts.path)).resolve() if parts.path else page.path
            if not target.exists():
                broken.append((page.path.name, link))
            elif parts.fragment and target.suffix == ".html":
                there = pages.get(target.relative_to(site).as_posix())
                if there is None or unquote(parts.fragment) not in there.ids:
                    broken.append((page.path.name, link))
    assert not broken


def test_no_page_loads_anything_from_another_host(pages):
    loads = {
        "script": "src",
        "img": "src",
        "iframe": "src",
        "source": "src",
        "embed": "src",
        "object": "data",
    }
    foreign = []
    for page in pages.values():
        addresses = [a for tag, name in loads.items() for a in page.attributes(tag, name)]
        addresses += [a["href"] for tag, a in page.elements if tag == "link" and "href" in a]
        addresses += re.findall(r"""(?:url\(|@import\s+)["']?((?:https?:)?//[^"')\s]+)""", page.text)
        foreign += [(page.path.name, a) for a in addresses if re.match(r"(https?:)?//", a)]
    assert not foreign


def test_no_style_sheet_loads_anything_from_another_host(site):
    for sheet in site.rglob("*.css"):
        text = sheet.read_text(encoding="utf-8", errors="replace")
        assert not re.findall(r"""(?:url\(|@import\s+)["']?(?:https?:)?//[^"')\s]+""", text), sheet


def test_formulas_come_from_the_book_itself(site, losses):
    (mathjax,) = [src for src in losses.attributes("script", "src") if "mathjax" in src.lower()]
    assert (losses.path.parent / mathjax.split("?")[0]).resolve().is_file()
    assert list(site.glob("_static/mathjax/**/*.woff"))


def test_no_page_uses_an_id_twice(pages):
    for name, page in pages.items():
        twice = {i for i in page.ids if page.ids.count(i) > 1}
        assert not twice, f"{name}: {sorted(twice)}"


def test_every_picture_has_words(pages):
    figures = 0
    for name, page in pages.items():
        for tag, attributes in page.elements:
            if tag == "img":
                assert attributes.get("alt"), f"{name}: {attributes.get('src')}"
            if tag == "svg":
                hidden = attributes.get("aria-hidden") == "true"
                assert hidden or attributes.get("aria-label") or "sd-" in attributes.get("class", ""), name
                figures += attributes.get("role") == "img" and not hidden
    assert figures >= 8


def test_every_figure_has_a_caption_numbers_in_its_words_and_its_data_as_a_table(losses):
    figures = re.findall(r'<figure class="gradatim-figure".*?</figure>', losses.text, flags=re.DOTALL)
    assert len(figures) >= 8
    for figure in figures:
        words = re.search(r'<svg[^>]*aria-label="([^"]+)"', figure).group(1)
        assert len(re.findall(r"-?\d+\.?\d*", words)) >= 4, words
        assert plain(re.search(r"<figcaption>(.*?)</figcaption>", figure).group(1))
        assert figure.count("<tr>") >= 3


def test_every_quiz_question_has_one_right_option_and_a_reason_for_each(losses):
    questions = losses.text.split('<div class="quiz docutils">')[1:]
    assert len(questions) >= 7
    for question in questions:
        question = question.split("</details>\n</div>")[0]
        options = re.findall(r"<summary.*?</summary>(.*?)(?:</details>|$)", question, flags=re.DOTALL)
        reasons = [plain(option) for option in options]
        assert len(reasons) >= 3
        assert sum(reason.startswith("Right.") for reason in reasons) == 1
        for reason in reasons:
            assert reason.startswith(("Right.", "Wrong.")), reason
            assert len(reason.split()) >= 5, reason


def test_no_number_in_the_text_is_missing(losses):
    """A glued number that could not be formatted shows as nothing, nan or a repr."""
    glued = re.findall(r'<span class="pasted-text">(.*?)</span>', losses.text)
    assert len(glued) >= 40
    for number in glued:
        assert re.fullmatch(r"-?\d+(\.\d+)?|[a-z :]+", plain(number)), number
        assert plain(number).strip() not in ("", "nan", "inf", "none")


def test_every_reference_is_cited_and_every_preprint_has_its_number():
    entries = (ROOT / "book" / "references.bib").read_text(encoding="utf-8")
    keys = re.findall(r"^@\w+\{(\w+),", entries, flags=re.MULTILINE)
    assert len(keys) == len(set(keys))
    text = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "book").glob("*.md"))
    cited = {key.strip() for group in re.findall(r"\{cite:\w+\}`([^`]+)`", text) for key in group.split(",")}
    assert cited == set(keys)
    for note in re.findall(r"arXiv:(\S+?)\}", entries):
        assert re.fullmatch(r"\d{4}\.\d{4,5}", note)


def test_the_landing_page_lists_as_ready_exactly_what_is_built(pages):
    rows = re.findall(
        r"^\| \d \| (.*?) \| (.*?) \|$", (ROOT / "book" / "index.md").read_text(), flags=re.MULTILINE
    )
    assert len(rows) == 8
    for title, state in rows:
        link = re.search(r"\((\w+)\.md\)", title)
        assert (state == "**ready**") == (link is not None)
        assert link is None or f"book/{link.group(1)}.html" in pages


def test_the_chapter_runs_within_a_minute_of_processor_time(losses):
    """The page measures itself; wall time would say how busy the machine was."""
    (seconds,) = re.findall(r"This page used (\d+) s of processor time", losses.text)
    assert 0 < int(seconds) < 60


def test_code_fits_the_column_of_a_desktop_page():
    """Beyond 84 characters a reader has to scroll sideways; cells whose code is folded away may be wider."""
    wide = []
    for path in (ROOT / "book").glob("*.md"):
        cells = re.findall(
            r"^```\{code-cell\} python\n(.*?)^```", path.read_text(), flags=re.DOTALL | re.MULTILINE
        )
        for cell in cells:
            if "hide-input" not in cell.split("\n", 1)[0]:
                wide += [(path.name, line) for line in cell.splitlines() if len(line) > 84]
    assert not wide
