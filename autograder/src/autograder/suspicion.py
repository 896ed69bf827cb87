"""Lines of a notebook that look beyond it: at other files, other processes, the grader. A hint for a person.

Nothing here changes a mark. An honest notebook may read its own file or ask for the version of a package, so only what
has no use in an exercise is listed.
"""

import ast
from collections.abc import Iterator

from .cell_names import parse
from .meddling import meddling_line

#: What a line is after, by the names that it writes out: dotted, or the last part of anything's.
_NAMES = {
    "looks through the file system": ("os.walk", "os.scandir", "os.fwalk"),
    "starts or ends processes": ("os.fork", "os.kill", "os.killpg", "os._exit", "os.execv", "os.abort"),
    "runs a command": ("subprocess.run", "subprocess.Popen", "subprocess.check_output", "pty.spawn"),
    "opens a connection": ("socket.socket", "socket.create_connection"),
    "calls the system by itself": ("ctypes.CDLL", "ctypes.string_at", "ctypes.pythonapi", "os.memfd_create"),
    "looks into what runs it": ("_getframe", "gc.get_objects", "gc.get_referrers", "inspect.currentframe"),
}
#: The same, by what a string holds.
_TEXTS = {
    "names the grader's files": (
        "gradebook.db",
        "course_secret",
        "exercises.toml",
        "autograder",
        "nbgrader_config",
    ),
    "names the system's files": ("/proc/", "/etc/", "/sys/"),
}
MAX_QUOTED = 120  # characters


def suspicious_lines(source: str) -> list[str]:
    """One sentence for each kind of thing that a cell is after, with the first line that shows it."""
    tree = parse(source)
    if tree is None:
        return []
    lines = source.splitlines()
    found: dict[str, int] = {}  # kind -> the number of its first line
    for node in ast.walk(tree):
        for kind in _kinds(node):
            found[kind] = min(found.get(kind, len(lines)), getattr(node, "lineno", 1))
    if not found and (number := meddling_line(source)) is not None:
        found["changes what others use, or can"] = number
    return [
        f"{kind}: {lines[number - 1].strip()[:MAX_QUOTED]}"
        for kind, number in sorted(found.items(), key=lambda item: item[1])
        if lines
    ]


def _kinds(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.Attribute):
        dotted = ast.unparse(node) if isinstance(node.value, ast.Name | ast.Attribute) else node.attr
        for kind, names in _NAMES.items():
            if dotted in names or node.attr in names:
                yield kind
    elif isinstance(node, ast.Constant) and isinstance(node.value, str):
        for kind, texts in _TEXTS.items():
            if any(text in node.value for text in texts):
                yield kind
