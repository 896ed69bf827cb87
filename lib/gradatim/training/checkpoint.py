"""Checkpoints: the whole state in one file that is either the old one or the new one, never half of one."""

import os
from pathlib import Path
from typing import Any

import torch

from .._check import checked, require
from . import parallel
from .callbacks import Callback
from .trainer import Trainer

LAST = "last.pt"


@checked
def save_atomically(state: dict[str, Any], path: str | os.PathLike[str]) -> None:
    """Write `state` so that at any moment, power failure included, `path` is a whole old or a whole new file.

    Written beside the target, forced to the disk, read back, then renamed over it; the folder's entry is
    forced to the disk too.

    Args:
        state: tensors and plain values, as `torch.load(weights_only=True)` accepts them.
        path: the file; its folder is made.

    Raises:
        TypeError: something in `state` that a safe load would refuse (found before the old file is touched).
        OSError: the disk is full, say; the old file is as it was.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        try:
            with open(beside, "wb") as stream:
                torch.save(state, stream)
                stream.flush()
                os.fsync(stream.fileno())
            torch.load(beside, weights_only=True, map_location="cpu", mmap=True)
        except OSError:
            raise
        except Exception as reason:
            message = str(reason).splitlines()[0]
            raise TypeError(
                f"save_atomically: state must be tensors and plain values, got {message}"
            ) from reason
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)
    if os.name == "nt":  # folders cannot be opened there
        return
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


@checked
def load_checkpoint(path: str | os.PathLike[str], *, device: torch.device | str = "cpu") -> dict[str, Any]:
    """The state in a checkpoint. Nothing in the file is executed: it is loaded with weights_only=True.

    Args:
        path: the file.
        device: where the tensors are put.

    Returns:
        What was saved.

    Raises:
        FileNotFoundError: no file.
        ValueError: a file that is not a checkpoint, or damaged.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"load_checkpoint: path must be a file, got {str(path)!r}")
    try:
        state = torch.load(path, weights_only=True, map_location=device)
    except Exception as reason:
        message = (str(reason) or type(reason).__name__).splitlines()[0]
        raise ValueError(
            f"load_checkpoint: path must be a whole checkpoint, got {str(path)!r}: {message}"
        ) from reason
    require(isinstance(state, dict), "load_checkpoint", "path", "a checkpoint", str(path))
    return state  # type: ignore[no-any-return]


@checked
def resume(trainer: Trainer, folder: str | os.PathLike[str]) -> bool:
    """Put a trainer where its last checkpoint was taken; call it before `fit`.

    What follows is bit for bit what an uninterrupted run does, on the same machine with the same data: model,
    optimizer, schedule, loss scale, random generators, place in the epoch, and every callback are restored.

    Args:
        trainer: made as for the first run.
        folder: that of its `Checkpoint`.

    Returns:
        False if there is no checkpoint.

    Raises:
        ValueError: a damaged file, or one of another trainer.
    """
    path = Path(folder) / LAST
    if not path.is_file():
        return False
    trainer.load_state_dict(load_checkpoint(path))
    return True


class Checkpoint(Callback):
    """Save the trainer's whole state to `folder/last.pt`, after every epoch and, if asked, every so many steps.

    Args:
        folder: made when it is not there.
        every: also after this many steps, >= 1, or None.
        keep: also keep each epoch's state, as `epoch-0001.pt` and so on.

    Raises:
        ValueError: every < 1.
    """

    order = 100  # after every other callback has taken note of the step

    @checked
    def __init__(
        self, folder: str | os.PathLike[str], *, every: int | None = None, keep: bool = False
    ) -> None:
        require(every is None or every >= 1, "Checkpoint", "every", "None or >= 1", every)
        self.folder, self.every, self.keep = Path(folder), every, keep

    def on_step(self, trainer: Trainer) -> None:
        """Save, every so many steps."""
        if self.every is not None and trainer.step % self.every == 0:
            self.save(trainer, LAST)

    def on_epoch(self, trainer: Trainer) -> None:
        """Save, after an epoch."""
        self.save(trainer, LAST)
        if self.keep:
            self.save(trainer, f"epoch-{trainer.epoch:04d}.pt")

    def save(self, trainer: Trainer, name: str) -> None:
        """Save now. In a group of processes all must call it; process 0 writes."""
        state = trainer.state_dict()
        if parallel.place()[0] == 0:
            save_atomically(state, self.folder / name)
        parallel.wait_for_all()
