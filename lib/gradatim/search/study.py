"""Trials, what a search method sees of them, and the study that runs, records and resumes them.

A search method is a pure function: what it proposes depends on the space, on the trials so far and on a random
generator made from (study seed, trial number), and on nothing else. It has no memory of its own. So the record of
the trials is the whole state of a search, and a search that was killed goes on as if nothing had happened.
"""

import math
import numbers
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, Protocol, runtime_checkable

import numpy as np
from torch import Tensor

from .._check import checked, require, require_type, shown
from .journal import Journal
from .space import Params, Space

Objective = Callable[["Trial"], float]


@dataclass(frozen=True)
class Proposal:
    """What a search method asks for.

    Args:
        params: a configuration of the space.
        budget: how far to train, in total: epochs, steps, or 1 where every trial is trained to its end.
        parent: the number of the finished trial whose weights this trial goes on from, or None to start anew.
        memo: what the method itself must find again in the record (JSON values).
    """

    params: Params
    budget: int = 1
    parent: int | None = None
    memo: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Trial:
    """One evaluation: what was asked (`params`, `budget`, `parent`, `seed`) and what came of it (`state`, `value`).

    Args:
        number: its place in the study, from 0.
        params: a configuration of the space.
        seed: for the objective's own randomness; a trial that goes on from a parent with the same params has the
            parent's.
        budget: how far to train, in total.
        parent: the number of the trial whose weights this one goes on from, or None.
        memo: what the search method must find again.
        state: "running", "complete" or "failed".
        value: the result, finite when complete and None otherwise.
        error: why it failed, or None.
        seconds: how long it took, or None; two trials that differ only in it are equal.
    """

    number: int
    params: Params
    seed: int
    budget: int = 1
    parent: int | None = None
    memo: dict[str, Any] = field(default_factory=dict)
    state: str = "running"
    value: float | None = None
    error: str | None = None
    seconds: float | None = field(default=None, compare=False)  # a measurement: not part of what must repeat


class History:
    """The trials so far, as a search method sees them: losses are always to be minimised.

    Args:
        trials: in order of their numbers.
        seed: the study's seed.
        maximize: True where a larger value is better; the loss is then minus the value.
    """

    def __init__(self, trials: Sequence[Trial], seed: int = 0, *, maximize: bool = False) -> None:
        self.trials = list(trials)
        self.seed = seed
        self.maximize = maximize

    def __len__(self) -> int:
        return len(self.trials)

    def loss(self, trial: Trial) -> float:
        """The trial's value, negated where larger is better; infinity for a trial that has no value."""
        if trial.value is None:
            return math.inf
        return -trial.value if self.maximize else trial.value

    def rank(self, trial: Trial) -> tuple[float, int]:
        """What trials are sorted by: the loss, ties by the number, failures last."""
        return self.loss(trial), trial.number

    @property
    def finished(self) -> list[Trial]:
        """The trials that were told, complete or failed."""
        return [t for t in self.trials if t.state != "running"]

    @property
    def complete(self) -> list[Trial]:
        """The trials with a finite value."""
        return [t for t in self.trials if t.state == "complete"]

    @property
    def running(self) -> list[Trial]:
        """The trials that were asked and not yet told."""
        return [t for t in self.trials if t.state == "running"]

    @property
    def fresh(self) -> int:
        """How many trials started anew: the index of the next fresh configuration."""
        return sum(t.parent is None for t in self.trials)

    def comparable(self, least: int = 1) -> list[Trial]:
        """The finished trials of the largest budget that has at least `least` complete ones; [] if none has.

        A loss after 3 epochs and one after 81 are not two draws of the same thing: a model must not mix them.
        """
        for budget in sorted({t.budget for t in self.complete}, reverse=True):
            trials = [t for t in self.finished if t.budget == budget]
            if sum(t.state == "complete" for t in trials) >= least:
                return trials
        return []

    def with_trial(self, trial: Trial) -> "History":
        """The same history with one more, or one changed, trial."""
        trials = [*self.trials[: trial.number], trial, *self.trials[trial.number + 1 :]]
        return History(trials, self.seed, maximize=self.maximize)


@runtime_checkable
class Sampler(Protocol):
    """A search method: a pure function of the space, the trials so far and the generator.

    `propose` returns None when it can propose nothing before a running trial is told, or nothing ever again.
    """

    def propose(self, space: Space, history: History, rng: np.random.Generator) -> Proposal | None:
        """The next proposal.

        Args:
            space: what may vary.
            history: the trials so far.
            rng: made from (study seed, trial number); the only source of chance.

        Returns:
            A proposal, or None.
        """
        ...


def _derived_seed(seed: int, number: int) -> int:
    return int(np.random.SeedSequence([seed, number, 1]).generate_state(1)[0])


def _cost(trial: Trial | Proposal, trials: Sequence[Trial]) -> int:
    """The budget that the trial adds: all of it, or what lies beyond the parent's."""
    return trial.budget - (0 if trial.parent is None else trials[trial.parent].budget)


class Study:
    """Ask a search method, run the objective, keep the record.

    Every event is on disk before the study acts on it: a configuration before it is trained, its result before the
    next is asked for. A study whose process was killed, at any moment, resumes by running the same program: trials
    that were told are read, a trial that was interrupted is run again with its configuration and seed, and the
    rest goes on as it would have gone.

    Args:
        space: what may vary.
        sampler: the search method.
        seed: >= 0; the same seed, space, sampler and objective give the same trials.
        direction: "minimize" or "maximize".
        path: a JSONL file for the record, resumed when it exists; None keeps the study in memory.

    Raises:
        ValueError: a seed or direction out of range; a record of another space, sampler, seed or direction, or one
            that another process has open.

    >>> from gradatim.search import RandomSearch, Uniform
    >>> study = Study(Space({"x": Uniform(-1.0, 1.0)}), RandomSearch(), seed=0)
    >>> best = study.run(lambda trial: trial.params["x"] ** 2, trials=50)
    >>> len(study.trials), abs(best.params["x"]) < 0.2
    (50, True)
    """

    @checked
    def __init__(
        self,
        space: Space,
        sampler: Sampler,
        *,
        seed: int = 0,
        direction: str = "minimize",
        path: str | os.PathLike[str] | None = None,
    ) -> None:
        require(
            direction in ("minimize", "maximize"), "Study", "direction", '"minimize" or "maximize"', direction
        )
        require(isinstance(seed, int) and seed >= 0, "Study", "seed", "an integer >= 0", seed)
        self.space = space
        self.sampler = sampler
        self.seed = seed
        self.direction = direction
        self._trials: list[Trial] = []
        self._journal = None if path is None else Journal(path)
        if self._journal is not None:
            try:
                self._resume(self._journal)
            except BaseException:
                self._journal.close()
                raise

    # The record: a header, then one line for each trial asked and one for each told.

    def _header(self) -> dict[str, Any]:
        identity = {"space": repr(self.space), "sampler": repr(self.sampler)}
        return {"study": 1, **identity, "seed": self.seed, "direction": self.direction}

    def _resume(self, journal: Journal) -> None:
        header = self._header()
        if not journal.records:
            journal.append(header)
            return
        for key, value in header.items():
            found = journal.records[0].get(key)
            require(found == value, "Study", key, f"the record's, {found!r}", value)
        for line in journal.records[1:]:
            record = dict(line)
            event = record.pop("event", None)
            number = record.get("number", -1)
            known = set(record) <= {f.name for f in fields(Trial)} and event in ("ask", "tell")
            fits = number == len(self._trials) if event == "ask" else 0 <= number < len(self._trials)
            require(
                known and fits, "Study", f"every line of {journal.path}", "the next ask, or a tell", record
            )
            if event == "ask":
                self._trials.append(Trial(**record))
            else:
                self._trials[number] = replace(self._trials[number], **record)

    def _write(self, event: str, record: dict[str, Any]) -> None:
        if self._journal is not None:
            self._journal.append({"event": event, **record})

    # What is known.

    @property
    def trials(self) -> list[Trial]:
        """Every trial, in order of its number."""
        return list(self._trials)

    @property
    def history(self) -> History:
        """The trials as the search method sees them."""
        return History(self._trials, self.seed, maximize=self.direction == "maximize")

    @property
    def best(self) -> Trial:
        """The best complete trial of the largest budget that any trial completed.

        Raises:
            ValueError: no trial is complete.
        """
        trials = self.history.comparable()
        require(len(trials) > 0, "Study.best", "the study", "one with a complete trial", "none")
        return min(trials, key=self.history.rank)

    def best_so_far(self) -> list[float]:
        """After each finished trial, the best value until then; NaN before the first complete one.

        For methods with several budgets the values of different budgets are mixed.
        """
        better = max if self.direction == "maximize" else min
        curve, best = [], math.nan
        for trial in self.history.finished:
            if trial.value is not None:
                best = trial.value if math.isnan(best) else better(best, trial.value)
            curve.append(best)
        return curve

    @property
    def spent(self) -> int:
        """The budget of all trials asked so far, where a trial with a parent goes on from the parent's weights."""
        return sum(_cost(t, self._trials) for t in self._trials)

    @property
    def spent_from_scratch(self) -> int:
        """The budget of all trials asked so far, where every trial is trained anew."""
        return sum(t.budget for t in self._trials)

    # Ask, tell, run.

    def _proposal(self) -> Proposal | None:
        rng = np.random.default_rng([self.seed, len(self._trials), 0])
        return self.sampler.propose(self.space, self.history, rng)

    def _ask(self, proposal: Proposal) -> Trial:
        self.space.check(proposal.params)
        number = len(self._trials)
        seed = _derived_seed(self.seed, number)
        if proposal.parent is not None and self._trials[proposal.parent].params == proposal.params:
            seed = self._trials[proposal.parent].seed
        trial = Trial(number=number, seed=seed, **vars(proposal))
        asked = {k: v for k, v in asdict(trial).items() if k not in ("state", "value", "error", "seconds")}
        self._write("ask", asked)
        self._trials.append(trial)
        return trial

    def ask(self) -> Trial | None:
        """The next trial to run, recorded as running.

        For several workers: ask for each, tell in the order in which they finish.

        Returns:
            The trial; None when nothing can be proposed until a running trial is told, or ever again.
        """
        proposal = self._proposal()
        return None if proposal is None else self._ask(proposal)

    @checked
    def tell(
        self,
        trial: Trial | int,
        value: float | None = None,
        *,
        error: str | None = None,
        seconds: float | None = None,
    ) -> Trial:
        """Record the result of a trial: a value, or an error for a trial that has none.

        NaN and infinity are failures: no search method may take them for numbers.

        Raises:
            ValueError: an unknown trial, one that was already told, or neither a value nor an error.

        Args:
            trial: what `ask` returned, or its number.
            value: the result, a number.
            error: why there is none, in words.
            seconds: how long the trial took, for the record.

        Returns:
            The trial with its result.
        """
        number = trial.number if isinstance(trial, Trial) else trial
        require(0 <= number < len(self._trials), "Study.tell", "trial", "one that was asked", number)
        state = self._trials[number].state
        require(state == "running", "Study.tell", "trial", "told only once", f"trial {number}, {state}")
        require((value is None) != (error is None), "Study.tell", "value", "given, or else error", value)
        if value is not None:
            value = float(value)
            if not math.isfinite(value):
                error, value = f"the value was {value}", None
        result: dict[str, Any] = {
            "state": "failed" if value is None else "complete",
            "value": value,
            "error": error,
        }
        self._write("tell", {"number": number, **result, "seconds": seconds})
        self._trials[number] = replace(self._trials[number], seconds=seconds, **result)
        return self._trials[number]

    @checked
    def run(
        self,
        objective: Objective,
        *,
        trials: int | None = None,
        budget: int | None = None,
        catch: tuple[type[Exception], ...] = (),
    ) -> Trial:
        """Run trials one after the other until a limit is reached or the search method is done.

        Args:
            objective: maps a `Trial` to its value; it should take its randomness from `trial.seed`.
            trials: how many trials the study shall have, those already recorded included.
            budget: what the study may spend (see `spent`); a trial that would exceed it is not started.
            catch: exceptions that make a trial fail; any other stops the run, and the trial is run again on resume.

        Returns:
            The best trial (see `best`).

        Raises:
            ValueError: a limit that is not positive; no trial completed.
        """
        exceptions = isinstance(catch, tuple) and all(isinstance(kind, type) for kind in catch)
        require_type(exceptions, "Study.run", "catch", "a tuple of exception classes", catch)
        for name, limit in (("trials", trials), ("budget", budget)):
            require(limit is None or limit > 0, "Study.run", name, "None or > 0", limit)
        for trial in self.history.running:  # interrupted by a kill: the same configuration and seed again
            self._evaluate(objective, trial, catch)
        while trials is None or len(self._trials) < trials:
            proposal = self._proposal()
            if proposal is None:
                break
            if budget is not None and self.spent + _cost(proposal, self._trials) > budget:
                break
            self._evaluate(objective, self._ask(proposal), catch)
        return self.best

    def _evaluate(self, objective: Objective, trial: Trial, catch: tuple[type[Exception], ...]) -> None:
        start = time.perf_counter()
        value, error = None, None
        try:
            value = self._number(objective(trial))
        except catch as reason:
            error = f"{type(reason).__name__}: {reason}"
        self.tell(trial, value, error=error, seconds=time.perf_counter() - start)

    @staticmethod
    def _number(result: Any) -> float:
        if isinstance(result, Tensor) and result.numel() == 1:
            return float(result.detach())
        real = isinstance(result, numbers.Real)
        require_type(real, "Study.run", "objective", "a function that returns a number", shown(result))
        return float(result)

    def close(self) -> None:
        """Close the record; the study can be read, but not asked or told, if it has one."""
        if self._journal is not None:
            self._journal.close()

    def __enter__(self) -> "Study":
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()
