"""The training loop, whole: read it from top to bottom."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from inspect import signature
from typing import Any

import torch
from torch import Tensor, nn

from .._check import checked, require
from . import parallel
from ._settings import PRECISIONS, require_batches, require_settings
from .batches import Batch, EpochPosition
from .callbacks import Callback
from .randomness import rng_state, set_rng_state

Loss = Callable[[Tensor, Tensor], Tensor]


class Trainer:
    """Train a model: batches in, steps out; everything else is a callback.

    One step, for a batch of N rows cut into micro-batches of n rows each:

        g     = sum over the micro-batches of (n / N) * gradient of loss(model(x), y)
        g     = g * min(1, clip_norm / |g|)                            if clip_norm is given
        theta = optimizer's step with g;  lr = scheduler's next

    The loss must be a mean over rows: then g is the gradient of the whole batch however it is cut, the smaller
    last piece and the pieces of other processes (see `training.parallel`) included.

    Args:
        model, optimizer: as in torch; the optimizer takes no closure.
        loss: loss(output, target) -> scalar, the mean over the rows.
        scheduler: a learning-rate schedule, stepped after every step, or after every epoch (`scheduler_per="epoch"`).
        callbacks: called in order at the events that `Callback` names.
        accumulate: into how many micro-batches a batch is cut: less memory, same result.
        clip_norm: the largest norm of all gradients together, > 0, or None.
        precision: "float32"; "bfloat16" or "float16" run the forward pass in mixed precision (float16 with
            loss scaling).
        metrics: name -> function of (output, target), a mean over rows, for `evaluate`.

    State for callbacks: `epoch`, `batch` (done in this epoch), `step` (done in all), `loss` and `grad_norm`
    (of the last step; tensors, so nothing waits for a GPU), `results` (of the last validation); set `stop` to
    end the training.

    Raises:
        TypeError: callbacks or a scheduler that are none.
        ValueError: a setting out of range.

    >>> from gradatim.training import Batches
    >>> model = nn.Linear(1, 1)
    >>> trainer = Trainer(model, torch.optim.SGD(model.parameters(), lr=0.1), nn.functional.mse_loss)
    >>> x = torch.linspace(-1, 1, 32).reshape(-1, 1)
    >>> trainer.fit(Batches(x, 3 * x + 1, 8), epochs=50)
    >>> [round(p.item(), 3) for p in model.parameters()]
    [3.0, 1.0]
    """

    @checked
    def __init__(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        loss: Loss,
        *,
        scheduler: Any = None,
        scheduler_per: str = "step",
        callbacks: Sequence[Callback] = (),
        accumulate: int = 1,
        clip_norm: float | None = None,
        precision: str = "float32",
        metrics: Mapping[str, Loss] | None = None,
    ) -> None:
        require_settings(scheduler, scheduler_per, callbacks, accumulate, clip_norm, precision)
        self.model, self.optimizer, self.loss_function = model, optimizer, loss
        self.scheduler, self.scheduler_per = scheduler, scheduler_per
        self.callbacks = sorted(callbacks, key=lambda callback: callback.order)
        self.accumulate, self.clip_norm, self.metrics = accumulate, clip_norm, dict(metrics or {})
        self.device, self.precision = next(model.parameters()).device, precision
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=precision == "float16")
        self.position, self.step, self.stop = EpochPosition(), 0, False
        self.loss, self._norm = torch.tensor(torch.nan), torch.tensor(torch.nan)
        self.results: dict[str, float] = {}

    epoch = property(lambda self: self.position.epoch)
    batch = property(lambda self: self.position.batch)

    @property
    def grad_norm(self) -> Tensor:
        """The norm of the last step's gradients, before clipping; computed when it is asked for."""
        if self.clip_norm is not None:
            return self._norm
        return nn.utils.get_total_norm([p.grad for p in self.model.parameters() if p.grad is not None])

    @checked
    def fit(self, batches: Iterable[Batch], *, epochs: int, validate: Iterable[Batch] | None = None) -> None:
        """Train until `epochs` epochs are done in all, those before a resume included, or until `stop` is set.

        Args:
            batches: gone through once an epoch; gives pairs (x, y).
            epochs: >= 0.
            validate: batches for `evaluate`, after every epoch.

        Raises:
            TypeError: `batches` is not iterable.
            ValueError: epochs < 0; no `validate` for a schedule that needs the validation loss.
        """
        require_batches("Trainer.fit", batches)
        require(epochs >= 0, "Trainer.fit", "epochs", ">= 0", epochs)
        self.epochs = epochs
        parallel.broadcast_model(self.model)
        self.tell("on_start")
        while self.epoch < epochs and not self.stop:
            for x, y in self.position.rest_of_epoch(batches):
                self.tell("on_step_start")
                self.train_step(x.to(self.device), y.to(self.device))
                self.position.batch += 1
                self.step += 1
                self.tell("on_step")
                if self.stop:
                    break
            else:
                self.end_epoch(validate)
        self.tell("on_end")

    def train_step(self, x: Tensor, y: Tensor) -> None:
        """One step of the optimizer on one batch."""
        self.model.train()
        self.optimizer.zero_grad(set_to_none=True)
        rows, self.loss = len(x), torch.zeros((), device=self.device)
        x, y = parallel.shard(x), parallel.shard(y)
        size = max(-(-len(x) // self.accumulate), 1)
        for x_part, y_part in zip(x.split(size), y.split(size), strict=True):
            if len(x_part) == 0:  # fewer rows than processes: nothing to add from here
                continue
            with self.autocast():
                loss = self.loss_function(self.model(x_part), y_part) * (len(x_part) / rows)
            self.scaler.scale(loss).backward()
            self.loss = self.loss + loss.detach()
        self.loss = parallel.add_up(self.model, self.loss)
        self.update()

    def update(self) -> None:
        """Clip the gradients, step the optimizer, step the schedule."""
        self.scaler.unscale_(self.optimizer)
        if self.clip_norm is not None:
            self._norm = nn.utils.clip_grad_norm_(self.model.parameters(), self.clip_norm)
        scale = self.scaler.get_scale()
        self.scaler.step(
            self.optimizer
        )  # left out where a float16 gradient overflowed; the scale then shrinks
        self.scaler.update()
        if self.scheduler is not None and self.scheduler_per == "step" and self.scaler.get_scale() >= scale:
            self.scheduler.step()

    def end_epoch(self, validate: Iterable[Batch] | None) -> None:
        """Validate, step a per-epoch schedule, and turn to the next epoch."""
        if validate is not None:
            self.tell("on_validation_start")
            self.results = self.evaluate(validate)
            self.tell("on_validation_end")
        if self.scheduler is not None and self.scheduler_per == "epoch":
            needs_loss = "metrics" in signature(self.scheduler.step).parameters  # reduce on plateau
            require(not needs_loss or "loss" in self.results, "Trainer.fit", "validate", "given", validate)
            self.scheduler.step(*([self.results["loss"]] if needs_loss else []))
        self.position.epoch, self.position.batch = self.epoch + 1, 0
        self.tell("on_epoch")

    @torch.no_grad()
    def evaluate(self, batches: Iterable[Batch]) -> dict[str, float]:
        """The mean loss and metrics over all rows, in evaluation mode.

        Args:
            batches: pairs (x, y).

        Returns:
            Name -> mean, "loss" and the metrics' names.

        Raises:
            TypeError: `batches` is not iterable.
            ValueError: no row.
        """
        require_batches("Trainer.evaluate", batches)
        was_training = self.model.training
        self.model.eval()
        functions = {"loss": self.loss_function, **self.metrics}
        sums = torch.zeros(len(functions) + 1, dtype=torch.float64, device=self.device)
        for x, y in batches:
            x, y = parallel.shard(x.to(self.device)), parallel.shard(y.to(self.device))
            if len(x) == 0:
                continue
            with self.autocast():
                output = self.model(x)
                means = [function(output, y).double() for function in functions.values()]
            sums += len(x) * torch.stack([*means, torch.ones_like(means[0])])
        self.model.train(was_training)
        *values, rows = parallel.total(sums).tolist()
        require(rows > 0, "Trainer.evaluate", "batches", "not empty", "no row")
        return {name: value / rows for name, value in zip(functions, values, strict=True)}

    def autocast(self) -> AbstractContextManager[object]:
        """The context in which the forward pass runs."""
        dtype = PRECISIONS[self.precision]
        return nullcontext() if dtype is None else torch.autocast(self.device.type, dtype)

    def tell(self, event: str) -> None:
        """Call every callback's method for an event; who was first into the validation is last out."""
        for callback in reversed(self.callbacks) if event == "on_validation_end" else self.callbacks:
            getattr(callback, event)(self)

    def parts(self) -> dict[str, Any]:
        """Everything that has a state, by name."""
        callbacks = {f"callback {i} {type(c).__name__}": c for i, c in enumerate(self.callbacks)}
        named = {"model": self.model, "optimizer": self.optimizer, "scheduler": self.scheduler}
        named |= {"scaler": self.scaler, "position": self.position}
        return {name: part for name, part in (named | callbacks).items() if part is not None}

    def state_dict(self) -> dict[str, Any]:
        """All that decides how training goes on; tensors and plain values only."""
        state = {name: part.state_dict() for name, part in self.parts().items()}
        progress = {"step": self.step, "stop": self.stop, "results": self.results}
        return {**state, "progress": progress, "random": parallel.gather(rng_state())}

    @checked
    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on exactly where `state_dict` was taken, with the same data, in as many processes.

        Raises:
            ValueError: another set of parts (a callback more or less), or another number of processes.
        """
        rank, world = parallel.place()
        known = sorted([*self.parts(), "progress", "random"])
        same = sorted(state) == known
        require(same, "Trainer.load_state_dict", "state", f"of the parts {known}", sorted(state))
        saved = len(state["random"])
        require(saved == world, "Trainer.load_state_dict", "state", f"saved by {world} process(es)", saved)
        for name, part in self.parts().items():
            part.load_state_dict(state[name])
        self.step, self.stop, self.results = (state["progress"][key] for key in ("step", "stop", "results"))
        set_rng_state(state["random"][rank])
