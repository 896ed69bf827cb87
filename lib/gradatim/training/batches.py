"""Batches of rows in an order that is a function of (seed, epoch), so that it can be taken up anywhere."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from torch import Generator, Tensor

from .._check import checked, require
from .randomness import generator_of, mixed_seed, rng_state, set_rng_state

Batch = tuple[Tensor, Tensor]
Transform = Callable[[Tensor, Generator], Tensor]


class Batches:
    """Cut in-memory tensors into batches; a new order every epoch.

    Epoch e is shuffled by a generator made from (seed, e) and nothing else. So equal seeds give equal batches
    whatever else the program draws, and training can go on at any batch of any epoch. The rows stay on the
    device they are on.

    Args:
        x: inputs, N >= 1 rows.
        y: targets, as many.
        batch_size: rows in a batch, >= 1; the last one has what is left.
        seed: of the orders, >= 0.
        shuffle: False keeps the rows as they are.
        drop_last: leave a smaller last batch out.
        transform: called as transform(x_batch, generator), for augmentation; its generator is made from (seed,
            e, batch).

    Raises:
        ValueError: different lengths or devices; no row; a setting out of range; no batch with `drop_last`.

    >>> batches = Batches(torch.arange(5.0), torch.arange(5), 2, seed=0)
    >>> [len(x) for x, y in batches], len(batches)
    ([2, 2, 1], 3)
    """

    @checked
    def __init__(
        self,
        x: Tensor,
        y: Tensor,
        batch_size: int,
        *,
        seed: int = 0,
        shuffle: bool = True,
        drop_last: bool = False,
        transform: Transform | None = None,
    ) -> None:
        lengths = tuple(len(t) if t.ndim else 0 for t in (x, y))
        require(lengths[0] == lengths[1] > 0, "Batches", "x and y", "of one length >= 1", lengths)
        require(seed >= 0, "Batches", "seed", ">= 0", seed)
        require(x.device == y.device, "Batches", "x and y", "on one device", (str(x.device), str(y.device)))
        require(batch_size >= 1, "Batches", "batch_size", ">= 1", batch_size)
        require(
            not drop_last or batch_size <= len(x), "Batches", "batch_size", f"<= {len(x)} rows", batch_size
        )
        self.x, self.y, self.batch_size, self.seed = x, y, batch_size, seed
        self.shuffle, self.drop_last, self.transform = shuffle, drop_last, transform
        self.epoch = 0

    def __len__(self) -> int:
        return len(self.x) // self.batch_size if self.drop_last else -(-len(self.x) // self.batch_size)

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch that the next iteration gives."""
        self.epoch = epoch

    def __iter__(self) -> Iterator[Batch]:
        return self.iterate_from(0)

    def iterate_from(self, first: int) -> Iterator[Batch]:
        """The batches first, first + 1, ... of the epoch, without the work for those before."""
        epoch = self.epoch
        order = torch.arange(len(self.x))
        if self.shuffle:
            order = torch.randperm(
                len(order), generator=Generator().manual_seed(mixed_seed(self.seed, epoch))
            )
        order = order.to(self.x.device)
        for i in range(first, len(self)):
            rows = order[i * self.batch_size : (i + 1) * self.batch_size]
            x = self.x[rows]
            if self.transform is not None:
                generator = Generator(self.x.device).manual_seed(mixed_seed(self.seed, epoch, i))
                x = self.transform(x, generator)
            yield x, self.y[rows]


class EpochPosition:
    """Where training stands in the data: epoch, batch, and the generators' state when the epoch began.

    With it any loader can be taken up in the middle of an epoch. `Batches` jump there. Another loader (torch's
    DataLoader) is begun as it was begun, from the same generators, and its first batches are thrown away.
    """

    def __init__(self) -> None:
        self.epoch = 0
        self.batch = 0
        self._at_start: dict[str, Any] = {}

    def rest_of_epoch(self, loader: Iterable[Batch]) -> Iterator[Batch]:
        """The batches of this epoch that are still to come; marks the epoch's begin if this is it."""
        if hasattr(loader, "set_epoch"):
            loader.set_epoch(self.epoch)
        if isinstance(loader, Batches):
            return loader.iterate_from(self.batch)
        own = generator_of(loader)
        if self.batch == 0:
            self._at_start = {"global": rng_state(), "own": own.get_state() if own else None}
            return iter(loader)
        now = rng_state()
        set_rng_state(self._at_start["global"])
        if own is not None:
            own.set_state(self._at_start["own"])
        iterator = iter(loader)
        for _ in range(self.batch):
            next(iterator)
        set_rng_state(now)
        return iterator

    def state_dict(self) -> dict[str, Any]:
        """Plain values and tensors, for a checkpoint."""
        return {"epoch": self.epoch, "batch": self.batch, "at_start": self._at_start}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """The inverse of `state_dict`."""
        self.epoch, self.batch, self._at_start = state["epoch"], state["batch"], state["at_start"]
