"""An IPython shell without kernel and sockets: cells in, bounded nbformat outputs out."""

from __future__ import annotations

import ast
import base64
import builtins
import contextlib
import io
import re
import sys
import traceback
import warnings
from typing import Any

from IPython.core.displayhook import DisplayHook
from IPython.core.displaypub import DisplayPublisher
from IPython.core.error import UsageError
from IPython.core.inputtransformer2 import TransformerManager
from IPython.core.interactiveshell import InteractiveShell
from IPython.utils.text import SList
from traitlets.config import Config

TEXT_LIMIT = 1 << 20  # characters of printed text a cell may leave
DATA_LIMIT = 8 << 20  # characters of figures and representations a cell may leave
MAX_OUTPUTS = 1000
COMMAND_NOT_FOUND = 127  # a shell's exit status
_TRUNCATED = "\n[output truncated]\n"


class NotWhileGrading(RuntimeError):
    """What a notebook may do on a student's machine, and not here."""


#: Errors that a right answer may meet while it is graded and nowhere else.
_CAUSED_HERE = (NotWhileGrading, ImportError, OSError, UsageError)
#: They run the cell and report on it, and swallow its errors. The line stays, as a comment.
_HARMLESS_CELL_MAGIC = re.compile(r"\A\s*%%(?=(time|capture(\s+--\S+)*)[ \t]*\n)")


class Outputs:
    """What a cell has left so far, within fixed bounds."""

    def __init__(self):
        self.clear()

    def clear(self) -> None:
        self._items: list[dict[str, Any]] = []
        self._text_room, self._data_room = TEXT_LIMIT, DATA_LIMIT

    def write(self, name: str, text: str) -> None:
        if self._text_room <= 0:
            return
        kept = text[: self._text_room]
        self._text_room -= max(len(kept), 1)
        if self._text_room <= 0:
            kept += _TRUNCATED
        last = self._items[-1] if self._items else None
        if last is not None and last["output_type"] == "stream" and last["name"] == name:
            last["parts"].append(kept)
        elif self._has_room():
            self._items.append({"output_type": "stream", "name": name, "parts": [kept]})

    def add(self, kind: str, data: Any, metadata: Any, count: int | None = None) -> None:
        bundle: dict[str, str] = {}
        for mime, value in dict(data).items():
            text = base64.b64encode(value).decode() if isinstance(value, bytes) else value
            if not isinstance(mime, str) or not isinstance(text, str):
                continue
            if len(text) > self._data_room:
                text = text[:2000] + _TRUNCATED if mime == "text/plain" else None
            if text is not None:
                self._data_room -= len(text)
                bundle[str(mime)] = str(text)
        if bundle and self._has_room():
            output = {"output_type": kind, "data": bundle, "metadata": {}}
            self._items.append(output | ({"execution_count": count} if kind == "execute_result" else {}))

    def error(self, name: str, message: str, traceback: list[str]) -> None:
        self._items.append({"output_type": "error", "ename": name, "evalue": message, "traceback": traceback})

    def _has_room(self) -> bool:
        return len(self._items) < MAX_OUTPUTS

    def take(self) -> list[dict[str, Any]]:
        taken = []
        for item in self._items:
            if "parts" in item:
                item = {k: v for k, v in item.items() if k != "parts"} | {"text": "".join(item["parts"])}
            taken.append(item)
        self.clear()
        return taken


class _Stream(io.TextIOBase):
    """Standard output or error of the cells."""

    encoding = "utf-8"

    def __init__(self, name: str, outputs: Outputs):
        self.name, self._outputs = name, outputs

    def writable(self) -> bool:
        return True

    def isatty(self) -> bool:
        return False

    def write(self, text: str) -> int:
        if not isinstance(text, str):
            raise TypeError(f"write() argument must be str, not {type(text).__name__}")
        self._outputs.write(self.name, text)
        return len(text)


def safe_text(value: Any, limit: int = 2000) -> str:
    """str(value), cut, and a remark instead where it fails."""
    try:
        return str(str(value))[:limit]
    except Exception as error:
        return f"<its text could not be made: {type(error).__name__}>"


class _Transformers(TransformerManager):
    """IPython's, which looks for its own syntax token by token only in what is no Python as it stands."""

    def do_token_transforms(self, lines: list[str]) -> list[str]:
        if self.token_transformers == _STOCK_TRANSFORMERS and _parses("".join(lines)):
            return lines
        return super().do_token_transforms(lines)


_STOCK_TRANSFORMERS = TransformerManager().token_transformers


def _parses(source: str) -> bool:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # whoever runs the cell warns
        try:
            ast.parse(source)
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            return False
    return True


class NotebookShell(InteractiveShell):
    """IPython's shell with its outputs collected and its ways to the system closed."""

    outputs: Outputs

    def should_run_async(self, raw_cell: str, *, transformed_cell: str, **options: Any) -> bool:
        words = "await" in transformed_cell or "async" in transformed_cell
        return words and super().should_run_async(raw_cell, transformed_cell=transformed_cell, **options)

    def _showtraceback(self, etype, evalue, stb) -> None:
        lines = [str(line)[:4000] for line in list(stb)[-40:]]
        self.outputs.error(safe_text(getattr(etype, "__name__", etype), 80), safe_text(evalue), lines)

    def system(self, cmd: str) -> None:
        """Say that there is no shell. No error: a notebook goes on after a shell command that fails, too."""
        print("shell commands (!command, %pip) are not available while grading", file=sys.stderr)
        self.user_ns["_exit_code"] = COMMAND_NOT_FOUND

    system_piped = system_raw = system

    def getoutput(self, cmd: str, split: bool = True, depth: int = 0) -> SList | str:
        self.system(cmd)
        return SList([]) if split else ""

    def enable_gui(self, gui: str | None = None) -> None:
        pass

    def init_io(self) -> None:
        pass

    def ask_exit(self) -> None:
        raise NotWhileGrading("exit() is not available while grading")

    def run(self, source: str, to_the_end: bool = False) -> BaseException | None:
        """Run one cell as the notebook would. The exception that ended it, if one did.

        With `to_the_end`, the statements below the one that failed run, too, each for itself: a package that is not
        installed here, a file of the student's or a question to them must not cost the answer in the same cell.
        """
        source = _HARMLESS_CELL_MAGIC.sub("#", source)
        result = self.run_cell(source, store_history=True)
        if to_the_end and isinstance(result.error_in_exec, Exception):
            self._run_the_rest(source, result.error_in_exec)
        return result.error_before_exec or result.error_in_exec

    def _run_the_rest(self, source: str, error: Exception) -> None:
        try:
            body = ast.parse(self.transform_cell(source)).body
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            return
        frames = traceback.walk_tb(error.__traceback__)
        line = next((number for frame, number in frames if frame.f_globals is self.user_ns), None)
        if line is None:
            return
        # What failed at the student's, too, left them with what stands above it.
        kept = {_defined(s) for s in body if s.lineno <= line} - {None}
        if isinstance(error, _CAUSED_HERE):
            kept.clear()
        for statement in body:
            if statement.lineno > line and _defined(statement) not in kept:
                with contextlib.suppress(Exception):
                    exec(compile(ast.Module([statement], []), "<cell>", "exec"), self.user_ns)


def _defined(statement: ast.stmt) -> str | None:
    """The name of the function or class that a statement defines."""
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    return statement.name if isinstance(statement, kinds) else None


def make_shell() -> NotebookShell:
    """The process's only shell, with sys.stdout and sys.stderr turned to it."""
    outputs = Outputs()

    class Hook(DisplayHook):
        def start_displayhook(self):
            pass

        def write_output_prompt(self):
            pass

        def write_format_data(self, format_dict, md_dict=None):
            outputs.add("execute_result", format_dict, md_dict, self.prompt_count)

        def finish_displayhook(self):
            pass

    class Publisher(DisplayPublisher):
        def publish(self, data, metadata=None, **options):
            outputs.add("display_data", data, metadata)

        def clear_output(self, wait=False):
            outputs.clear()

    config = Config()
    config.HistoryManager.enabled = False
    config.InteractiveShell.colors = "nocolor"
    # The inline backend's own setting, with pictures packed fast rather than tight: a tenth of a figure's time.
    config.InlineBackend.print_figure_kwargs = {"bbox_inches": "tight", "pil_kwargs": {"compress_level": 1}}
    shell = NotebookShell.instance(config=config, displayhook_class=Hook, display_pub_class=Publisher)
    shell.outputs, shell.input_transformer_manager = outputs, _Transformers()
    sys.stdout, sys.stderr = _Stream("stdout", outputs), _Stream("stderr", outputs)
    close_input()
    shell.register_magic_function(_no_reset, "line", "reset")
    return shell


def _no_reset(line: str) -> None:
    """%reset would take the other answers along, and what the course itself has set up."""
    print("%reset does nothing while grading", file=sys.stderr)


def close_input() -> None:
    """There is nobody to answer a question while grading."""
    import getpass

    def no_input(prompt: object = "", *args, **kwargs) -> str:
        raise NotWhileGrading("input() is not available while grading: set the value in the cell")

    builtins.input = no_input
    getpass.getpass = no_input
