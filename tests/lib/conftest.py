"""The library's tests treat every warning as an error."""

from pathlib import Path

import pytest

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items):
    for item in items:
        if HERE in item.path.parents:
            # torch's own remark on CPython 3.13.0, where it compiles
            item.add_marker(pytest.mark.filterwarnings("ignore:Guards may run slower"), append=False)
            item.add_marker(pytest.mark.filterwarnings("error"), append=False)
