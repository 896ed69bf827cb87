"""The published MNIST baseline, reproduced and beaten on the same network: `python benchmarks/mnist_baseline.py`.

784-128-10 with ReLU. The baseline: Adam 1e-3, batch 32, 10 epochs; published test loss 0.0789, accuracy 0.9768. The
recipes here change how the same network is trained, never the network. Needs the MNIST files: GRADATIM_MNIST, or
`gradatim.data.download_mnist()`.

The recipes were chosen on 10,000 of the training images (`--validate` shows that table); the test set is read once, at
the end of each run. "to 97.68 %" is the training time until an epoch's end finds the test accuracy at or above the
published one (the time of the evaluations is not counted); it is reported, and nothing is chosen by it.
"""

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Generator, Tensor

from gradatim.data import Dataset, load_mnist
from gradatim.models import MLP, count_parameters
from gradatim.optim import Adam
from gradatim.schedulers import OneCycleLR
from gradatim.training import EMA, Batches, Callback, Trainer, seed_everything

PUBLISHED_LOSS, PUBLISHED_ACCURACY = 0.0789, 0.9768


def shifted(x: Tensor, generator: Generator) -> Tensor:
    """Move every image by -1, 0 or 1 pixels in each direction, at random; what comes in is black."""
    padded = torch.nn.functional.pad(x.view(-1, 28, 28), (1, 1, 1, 1))
    dy, dx = torch.randint(0, 3, (2, len(x), 1, 1), generator=generator, device=x.device)
    line = torch.arange(28, device=x.device)
    image = torch.arange(len(x), device=x.device)[:, None, None]
    return padded[image, line[:, None] + dy, line + dx].flatten(1)


@dataclass(frozen=True)
class Recipe:
    """How the network is trained."""

    name: str
    batch_size: int
    epochs: int
    lr: float
    one_cycle: bool = False
    augment: Callable[[Tensor, Generator], Tensor] | None = None
    label_smoothing: float = 0.0
    ema: float | None = None


RECIPES = (
    Recipe("baseline: Adam 1e-3, batch 32", 32, 10, 1e-3),
    Recipe("one-cycle 1e-2, batch 256, 4 epochs", 256, 4, 1e-2, one_cycle=True),
    Recipe("one-cycle 1e-2, batch 256", 256, 10, 1e-2, one_cycle=True),
    Recipe("+ one-pixel shifts", 256, 10, 1e-2, one_cycle=True, augment=shifted),
    Recipe("+ shifts, 30 epochs", 256, 30, 1e-2, one_cycle=True, augment=shifted),
)


class Clock(Callback):
    """The seconds of training, without those of evaluating: of one thread on a CPU, by the clock on a GPU."""

    def __init__(self, device: torch.device) -> None:
        self.seconds, self.reached, self.device = 0.0, float("nan"), device

    def now(self) -> float:
        if self.device.type == "cpu":
            return time.process_time()
        torch.cuda.synchronize(self.device)
        return time.perf_counter()

    def on_start(self, trainer: Trainer) -> None:
        self.since = self.now()

    def on_validation_start(self, trainer: Trainer) -> None:
        self.seconds += self.now() - self.since

    def on_validation_end(self, trainer: Trainer) -> None:
        if np.isnan(self.reached) and trainer.results["accuracy"] >= PUBLISHED_ACCURACY:
            self.reached = self.seconds
        self.since = self.now()


def accuracy(logits: Tensor, target: Tensor) -> Tensor:
    """The share of right answers."""
    return (logits.argmax(1) == target).float().mean()


def run(recipe: Recipe, train: Dataset, test: Dataset, seed: int) -> tuple[float, float, float, float]:
    """Train once: test loss (nats), test accuracy, seconds of training, seconds to the published accuracy."""
    seed_everything(seed)
    model = MLP([784, 128, 10]).to(train.x.device)
    optimizer = Adam(model.parameters(), lr=recipe.lr, foreach=False, fused=True)
    batches = Batches(train.x, train.y, recipe.batch_size, seed=seed, transform=recipe.augment)
    steps = recipe.epochs * len(batches)
    scheduler = None
    if recipe.one_cycle:  # making one already changes the optimizer's learning rate
        scheduler = OneCycleLR(optimizer, recipe.lr, total_steps=steps)
    clock = Clock(train.x.device)
    trainer = Trainer(
        model,
        optimizer,
        torch.nn.CrossEntropyLoss(label_smoothing=recipe.label_smoothing),
        scheduler=scheduler,
        callbacks=[clock, *([EMA(recipe.ema)] if recipe.ema else [])],
        metrics={"accuracy": accuracy, "cross-entropy": torch.nn.functional.cross_entropy},
    )
    trainer.fit(batches, epochs=recipe.epochs, validate=Batches(test.x, test.y, 2000, shuffle=False))
    return trainer.results["cross-entropy"], trainer.results["accuracy"], clock.seconds, clock.reached


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--validate", action="store_true", help="train on 50,000, show the other 10,000")
    parser.add_argument("--only", help="recipes whose name contains this")
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    torch.set_num_threads(1)
    train, test = load_mnist(device=options.device)
    if options.validate:
        train, test = train[:50_000], train[50_000:]
    size = f"{count_parameters(MLP([784, 128, 10])):,} parameters"
    print(f"784-128-10, {size}, {options.seeds} seeds, {options.device}, one thread; ", end="")
    print(f"published: loss {PUBLISHED_LOSS}, accuracy {PUBLISHED_ACCURACY:.2%}\n")
    print(
        "| recipe | loss | accuracy | least to most | seconds | to 97.68 %, s |\n|---|---:|---:|---:|---:|---:|"
    )
    for recipe in RECIPES:
        if options.only and options.only not in recipe.name:
            continue
        found = np.array([run(recipe, train, test, seed) for seed in range(options.seeds)])
        loss, right, seconds, _ = found.mean(axis=0)
        spread = f"{found[:, 1].min():.2%} to {found[:, 1].max():.2%}"
        reached = found[~np.isnan(found[:, 3]), 3]
        when = f"{reached.mean():.1f}" if len(reached) else "never"
        when += "" if len(reached) == len(found) else f" ({len(reached)}/{len(found)})"
        print(f"| {recipe.name} | {loss:.4f} | {right:.2%} | {spread} | {seconds:.1f} | {when} |", flush=True)


if __name__ == "__main__":
    main()
