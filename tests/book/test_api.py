"""The API pages name everything public, say something about each, and read well."""

import doctest
import importlib
import inspect
import pkgutil
import re

import pytest

import gradatim

MODULES = sorted(
    found.name
    for found in pkgutil.walk_packages(gradatim.__path__, "gradatim.")
    if not any(part.startswith("_") for part in found.name.split("."))
)
PUBLIC = [name for name in MODULES if hasattr(importlib.import_module(name), "__all__")]
NAMES = [(module, name) for module in PUBLIC for name in importlib.import_module(module).__all__]
ENTRY = '<dt class="sig sig-object py" id="{}">'


def page_of(pages, module):
    """The page of a module: a package's own, also for the modules within it."""
    return pages[f"book/api/{module.split('.')[1]}.html"]


def test_every_module_and_package_below_gradatim_says_what_is_public():
    top = [name for name in MODULES if name.count(".") == 1]
    assert len(top) >= 16
    assert set(top) <= set(PUBLIC)
    for module, name in NAMES:
        assert hasattr(importlib.import_module(module), name), f"{module}.{name}"


@pytest.mark.slow
@pytest.mark.parametrize("module", PUBLIC)
def test_every_public_name_has_an_entry_that_says_something(pages, module):
    text = page_of(pages, module).text
    assert f'id="module-{module}"' in text
    for name in importlib.import_module(module).__all__:
        _, _, after = text.partition(ENTRY.format(f"{module}.{name}"))
        assert after, f"{module}.{name} is on no API page"
        words = re.sub(r"<[^>]*>", " ", after.partition("<dd>")[2].partition("</dl>")[0]).split()
        assert len(words) >= 3, f"{module}.{name} has an empty entry"


@pytest.mark.slow
def test_no_entry_shows_markup_in_the_place_of_what_it_means(pages):
    for module in PUBLIC:
        page = page_of(pages, module)
        article = page.text.split("<article", 1)[1].split("</article>", 1)[0]
        assert 'class="problematic"' not in article
        assert 'class="system-message"' not in article
        outside = re.sub(r"<(pre|code|span class=\"pre\")\b.*?</\1>", "", article, flags=re.DOTALL)
        plain = re.sub(r"<[^>]*>", "", outside)
        assert not re.findall(r"``|:py:\w+:`|\\[*|_`]", plain), page.path.name


@pytest.mark.parametrize(("module", "name"), NAMES, ids=[f"{m}.{n}" for m, n in NAMES])
def test_a_public_function_or_class_has_a_docstring_of_its_own(module, name):
    thing = getattr(importlib.import_module(module), name)
    if inspect.isroutine(thing) or inspect.isclass(thing):
        text = thing.__doc__ or ""
        assert len(text.split()) >= 2
        assert not text.startswith(f"{name}("), "the text that dataclass and NamedTuple make up"


@pytest.mark.parametrize("module", PUBLIC)
def test_an_entry_names_each_of_its_arguments_or_the_entry_that_does(module):
    public = importlib.import_module(module).__all__
    unnamed = {}
    for name in public:
        thing = getattr(importlib.import_module(module), name)
        ours = (inspect.isfunction(thing) or inspect.isclass(thing)) and thing.__module__.startswith(
            "gradatim"
        )
        if not ours or (inspect.isclass(thing) and issubclass(thing, Exception)):
            continue
        arguments = set(inspect.signature(thing).parameters) - {"args", "kwargs"}
        missing = {a for a in arguments if not re.search(rf"\b{a}(, \w+)*: ", thing.__doc__)}
        other = set(re.findall(r"`(\w+)`", thing.__doc__ or "")) & set(public) - {name}
        if len(arguments) > 1 and missing and not other:
            unnamed[name] = missing
    assert not unnamed


@pytest.mark.parametrize(
    "module",
    sorted(f.name for f in pkgutil.walk_packages(gradatim.__path__, "gradatim.") if "__main__" not in f.name),
)
def test_every_example_in_the_library_gives_what_it_shows(module):
    import torch

    with torch.random.fork_rng(devices=[]):
        result = doctest.testmod(importlib.import_module(module), extraglobs={"torch": torch})
    assert result.failed == 0
