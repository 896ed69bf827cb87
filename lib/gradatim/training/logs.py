"""Logs of a run: JSON lines for programs, TensorBoard for eyes. After a resume, neither says anything twice."""

import json
import math
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .._check import checked, require
from . import parallel
from .callbacks import Callback

if TYPE_CHECKING:
    from .trainer import Trainer


def _number(value: float) -> float | str:
    """JSON has no NaN and no infinity: they are written as "nan", "inf", "-inf"."""
    return value if math.isfinite(value) else str(value)


class JSONLLog(Callback):
    """Write one JSON object a line: after every `every` steps, and after every epoch.

        {"event": "step", "step": 100, "epoch": 1, "loss": 0.31, "lr": 0.001, "grad_norm": 1.7, "seconds": 2.1}
        {"event": "epoch", "step": 188, "epoch": 1, "results": {"loss": 0.29}, "seconds": 4.0}

    A checkpoint remembers how long the file was; a resume cuts off what a killed run had written since, so the
    file ends up as an uninterrupted run's. A file that lies there when a run starts anew is renamed to `NAME.old`.

    Args:
        path: the file; its folder is made.
        every: steps between two lines, >= 1; each reads the loss from the device.
        clock: write "seconds" since the start; False makes equal runs' files equal.

    Raises:
        ValueError: every < 1; at a resume, a file that is shorter than the checkpoint remembers.
    """

    @checked
    def __init__(self, path: str | os.PathLike[str], *, every: int = 1, clock: bool = True) -> None:
        require(every >= 1, "JSONLLog", "every", ">= 1", every)
        self.path, self.every, self.clock = Path(path), every, clock
        self._length = 0
        self._start = 0.0
        self._writes = False

    def on_start(self, trainer: "Trainer") -> None:
        """Cut the file to the length that the checkpoint remembers."""
        self._writes = parallel.place()[0] == 0
        self._start = time.perf_counter()
        if not self._writes:
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        size = self.path.stat().st_size if self.path.exists() else 0
        rule = f"the log of the resumed run, of at least {self._length} bytes"
        require(size >= self._length, "JSONLLog", "path", rule, f"{str(self.path)!r} of {size} bytes")
        if self._length == 0 and size > 0:
            os.replace(self.path, self.path.with_name(f"{self.path.name}.old"))
        elif size > self._length:
            os.truncate(self.path, self._length)

    def _write(self, record: dict[str, Any]) -> None:
        if not self._writes:
            return
        if self.clock:
            record["seconds"] = round(time.perf_counter() - self._start, 3)
        line = json.dumps(record, allow_nan=False).encode() + b"\n"
        # Opened for each line: nothing is left open, or unwritten, when training ends by an exception.
        with open(self.path, "ab") as stream:
            stream.write(line)
        self._length += len(line)

    def on_step(self, trainer: "Trainer") -> None:
        """A line about the step."""
        if trainer.step % self.every == 0 and self._writes:
            numbers = {
                "loss": _number(float(trainer.loss)),
                "lr": _number(float(trainer.optimizer.param_groups[0]["lr"])),
                "grad_norm": _number(float(trainer.grad_norm)),
            }
            self._write({"event": "step", "step": trainer.step, "epoch": trainer.epoch, **numbers})

    def on_epoch(self, trainer: "Trainer") -> None:
        """A line about the epoch."""
        results = {name: _number(value) for name, value in trainer.results.items()}
        self._write({"event": "epoch", "step": trainer.step, "epoch": trainer.epoch, "results": results})

    def state_dict(self) -> dict[str, Any]:
        """How long the file is."""
        return {"length": self._length}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """The inverse of `state_dict`."""
        self._length = state["length"]


class TensorBoardLog(Callback):
    """Write losses, learning rate, gradient norm and validation results for TensorBoard (an optional dependency).

    Args:
        folder: where the event files go.
        every: steps between two points, >= 1.

    Raises:
        ValueError: every < 1.
        ImportError: TensorBoard is not installed (when training starts).
    """

    @checked
    def __init__(self, folder: str | os.PathLike[str], *, every: int = 10) -> None:
        require(every >= 1, "TensorBoardLog", "every", ">= 1", every)
        self.folder, self.every = Path(folder), every
        self._writer: Any = None

    def on_start(self, trainer: "Trainer") -> None:
        """Open an event file; after a resume, later points of the killed run are hidden."""
        if parallel.place()[0] != 0:
            return
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as missing:
            raise ImportError(
                "TensorBoardLog: tensorboard must be installed (pip install tensorboard)"
            ) from missing
        self._writer = SummaryWriter(str(self.folder), purge_step=trainer.step + 1 if trainer.step else None)

    def on_step(self, trainer: "Trainer") -> None:
        """Points for the step."""
        if self._writer is not None and trainer.step % self.every == 0:
            self._writer.add_scalar("train/loss", float(trainer.loss), trainer.step)
            self._writer.add_scalar("train/lr", float(trainer.optimizer.param_groups[0]["lr"]), trainer.step)
            self._writer.add_scalar("train/grad_norm", float(trainer.grad_norm), trainer.step)

    def on_epoch(self, trainer: "Trainer") -> None:
        """Points for the validation."""
        if self._writer is not None:
            for name, value in trainer.results.items():
                self._writer.add_scalar(f"validation/{name}", value, trainer.step)

    def on_end(self, trainer: "Trainer") -> None:
        """Close the event file."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None
