"""Search spaces: what may vary, on which scale, and under which condition.

Every dimension is a monotone map from the unit interval: a value is drawn by putting a uniform number u through
the inverse distribution function, and a model (a Gaussian process, a Parzen estimator) looks at the values through
the map back. So "log-uniform" is said once, and every search method respects it.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .._check import require, require_type

#: What a hyperparameter may be.
Value = bool | int | float | str | None
#: One configuration: name -> value, without the dimensions that do not exist under its conditions.
Params = dict[str, Value]
When = Mapping[str, Value | Sequence[Value]]

# The largest number below 1: u = 1 would fall out of the half-open interval that the maps are defined on.
BELOW_ONE = float(np.nextafter(1.0, 0.0))


def _is_number(x: Any) -> bool:
    return isinstance(x, (int, float)) and not isinstance(x, bool) and math.isfinite(x)


def _is_int(x: Any) -> bool:
    return isinstance(x, int) and not isinstance(x, bool)


def _clip(u: float) -> float:
    return min(max(float(u), 0.0), BELOW_ONE)


@dataclass(frozen=True)
class Uniform:
    """Real numbers, every one as likely: value = low + u * (high - low), with u uniform in [0, 1).

    Args:
        low, high: finite ends, low < high.
        when: the condition under which the dimension exists (see `Space`); None means always.

    >>> Uniform(-1.0, 3.0).from_unit(0.25)
    0.0
    """

    low: float
    high: float
    when: When | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        ok = _is_number(self.low) and _is_number(self.high) and self.low < self.high
        require(ok, type(self).__name__, "low and high", "finite with low < high", (self.low, self.high))

    def from_unit(self, u: float) -> float:
        """The value at u in [0, 1]."""
        return min(self.low + _clip(u) * (self.high - self.low), float(self.high))

    def to_unit(self, value: Any) -> float:
        """Where in [0, 1] the value lies; the inverse of `from_unit`."""
        return (value - self.low) / (self.high - self.low)

    def contains(self, value: Any) -> bool:
        """True for a finite number within the ends."""
        return _is_number(value) and self.low <= value <= self.high

    def grid(self, points: int) -> list[Value]:
        """`points` values evenly spaced in u, both ends included (one point: the middle)."""
        units = [0.5] if points == 1 else [i / (points - 1) for i in range(points)]
        ends: dict[int, Value] = {} if points == 1 else {0: float(self.low), points - 1: float(self.high)}
        return [ends.get(i, self.from_unit(u)) for i, u in enumerate(units)]


@dataclass(frozen=True)
class LogUniform(Uniform):
    """Positive numbers, every order of magnitude as likely: value = low * (high / low)**u, u uniform in [0, 1).

    The logarithm is uniform; to draw a uniform number and take its logarithm is another distribution. The base of
    the logarithm does not matter: it cancels.

    Args:
        low, high: finite ends, 0 < low < high.
        when: the condition under which the dimension exists (see `Space`); None means always.

    >>> round(LogUniform(1e-4, 1.0).from_unit(0.5), 12)          # halfway between 1e-4 and 1 in decades
    0.01
    """

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.low > 0, "LogUniform", "low", "> 0", self.low)

    def from_unit(self, u: float) -> float:
        """The value at u in [0, 1]."""
        value = self.low * math.exp(_clip(u) * (math.log(self.high) - math.log(self.low)))
        return min(max(value, float(self.low)), float(self.high))

    def to_unit(self, value: Any) -> float:
        """Where in [0, 1] the value lies; the inverse of `from_unit`."""
        return (math.log(value) - math.log(self.low)) / (math.log(self.high) - math.log(self.low))


@dataclass(frozen=True)
class Int:
    """Integers low, low + 1, ..., high, both ends included and as likely as the rest.

    Integer k owns the interval [k - 1/2, k + 1/2) of the real line; a uniform number on [low - 1/2, high + 1/2) is
    rounded. (To round a uniform number on [low, high] would halve the chance of both ends.) With log=True the number
    is uniform in its logarithm on the same interval, so P(k) = log((k + 1/2) / (k - 1/2)) / log((high + 1/2) /
    (low - 1/2)).

    Args:
        low, high: integers, low <= high; low >= 1 when log=True.
        log: True for a logarithmic scale.
        when: the condition under which the dimension exists (see `Space`); None means always.

    >>> [Int(1, 3).from_unit(u) for u in (0.0, 0.34, 0.67, 1.0)]
    [1, 2, 3, 3]
    """

    low: int
    high: int
    log: bool = field(default=False, kw_only=True)
    when: When | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        ok = _is_int(self.low) and _is_int(self.high) and self.low <= self.high
        require(ok, "Int", "low and high", "integers with low <= high", (self.low, self.high))
        require(not self.log or self.low >= 1, "Int", "low", ">= 1 on a logarithmic scale", self.low)

    def _ends(self) -> tuple[float, float]:
        low, high = self.low - 0.5, self.high + 0.5
        return (math.log(low), math.log(high)) if self.log else (low, high)

    def from_unit(self, u: float) -> int:
        """The value at u in [0, 1]."""
        a, b = self._ends()
        x = a + _clip(u) * (b - a)
        return min(max(math.floor((math.exp(x) if self.log else x) + 0.5), self.low), self.high)

    def to_unit(self, value: Any) -> float:
        """Where in [0, 1] the integer lies: `from_unit` gives it back."""
        a, b = self._ends()
        return ((math.log(value) if self.log else value) - a) / (b - a)

    def contains(self, value: Any) -> bool:
        """True for an integer within the ends."""
        return _is_int(value) and self.low <= value <= self.high

    def grid(self, points: int) -> list[Value]:
        """At most `points` different integers, spread evenly on the dimension's scale, both ends included."""
        if points == 1:
            return [self.from_unit(0.5)]
        a, b = (math.log(self.low), math.log(self.high)) if self.log else (self.low, self.high)
        spread = (a + i / (points - 1) * (b - a) for i in range(points))
        return list(dict.fromkeys(math.floor((math.exp(x) if self.log else x) + 0.5) for x in spread))


@dataclass(frozen=True)
class Choice:
    """One of a few named options, without order, every one as likely.

    Args:
        options: at least one, all different; strings, numbers, booleans or None, so that a record can hold them.
            (Anything else is looked up by its name in the objective: `{"relu": nn.ReLU}[params["activation"]]`.)
        when: the condition under which the dimension exists (see `Space`); None means always.

    >>> Choice(["sgd", "adam"]).from_unit(0.7)
    'adam'
    """

    options: Sequence[Value]
    when: When | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        require_type(
            isinstance(self.options, (list, tuple)), "Choice", "options", "a list or tuple", self.options
        )
        object.__setattr__(self, "options", tuple(self.options))
        require(len(self.options) > 0, "Choice", "options", "not empty", self.options)
        for option in self.options:
            plain = option is None or isinstance(option, (bool, str)) or _is_number(option)
            require_type(plain, "Choice", "every option", "a string, a finite number, a bool or None", option)
        different = len({(type(o), o) for o in self.options}) == len(self.options)
        require(different, "Choice", "options", "all different", self.options)

    def from_unit(self, u: float) -> Value:
        """The option at u in [0, 1]."""
        return self.options[math.floor(_clip(u) * len(self.options))]

    def index(self, value: Any) -> int:
        """The place of the option; 1 and True are different options."""
        return [(type(o), o) for o in self.options].index((type(value), value))

    def to_unit(self, value: Any) -> float:
        """The middle of the option's interval: `from_unit` gives it back."""
        return (self.index(value) + 0.5) / len(self.options)

    def contains(self, value: Any) -> bool:
        """True for one of the options."""
        return any(type(o) is type(value) and o == value for o in self.options)

    def grid(self, points: int) -> list[Value]:
        """Every option, whatever `points` is: leaving one out would be an arbitrary choice."""
        return list(self.options)


Dimension = Uniform | Int | Choice


class Space:
    """Named dimensions, some of them conditional.

    A condition names earlier dimensions and the values under which this one exists. `Params` hold the existing
    dimensions only, so an objective never sees a momentum that Adam would ignore.

    Args:
        dimensions: name -> `Uniform`, `LogUniform`, `Int` or `Choice`, in order; not empty.

    Raises:
        TypeError: something that is not a dimension. ValueError: no dimension; a condition on an unknown or later
            dimension or on a value that it cannot have.

    >>> space = Space({
    ...     "optimizer": Choice(["sgd", "adam"]),
    ...     "lr": LogUniform(1e-4, 1.0),
    ...     "momentum": Uniform(0.0, 0.99, when={"optimizer": "sgd"}),
    ... })
    >>> space.from_unit([0.9, 0.0, 0.5])
    {'optimizer': 'adam', 'lr': 0.0001}
    """

    def __init__(self, dimensions: Mapping[str, Dimension]) -> None:
        require_type(isinstance(dimensions, Mapping), "Space", "dimensions", "a mapping", dimensions)
        require(len(dimensions) > 0, "Space", "dimensions", "not empty", dict(dimensions))
        self._dimensions: dict[str, Dimension] = {}
        for name, dimension in dimensions.items():
            require_type(isinstance(name, str), "Space", "every name", "a string", name)
            rule = "a Uniform, LogUniform, Int or Choice"
            require_type(isinstance(dimension, (Uniform, Int, Choice)), "Space", name, rule, dimension)
            for parent, wanted in self._conditions(dimension):
                known = parent in self._dimensions
                require(known, "Space", f"the condition of {name}", "on an earlier dimension", parent)
                for value in wanted:
                    ok = self._dimensions[parent].contains(value)
                    require(
                        ok, "Space", f"the condition of {name}", f"on a value that {parent} can have", value
                    )
            self._dimensions[name] = dimension

    @staticmethod
    def _conditions(dimension: Dimension) -> list[tuple[str, tuple[Value, ...]]]:
        when = dimension.when or {}
        found: list[tuple[str, tuple[Value, ...]]] = []
        for parent, wanted in when.items():
            several = isinstance(wanted, Sequence) and not isinstance(wanted, str)
            found.append((parent, tuple(wanted) if several else (wanted,)))  # type: ignore[arg-type]
        return found

    def __len__(self) -> int:
        return len(self._dimensions)

    def __iter__(self) -> Iterator[str]:
        return iter(self._dimensions)

    def __getitem__(self, name: str) -> Dimension:
        return self._dimensions[name]

    def __repr__(self) -> str:
        return f"Space({self._dimensions!r})"

    @property
    def names(self) -> list[str]:
        """The dimensions' names, in order."""
        return list(self._dimensions)

    def active(self, name: str, params: Mapping[str, Value]) -> bool:
        """Whether the dimension exists, given the values of the earlier ones."""
        return all(
            parent in params and any(type(v) is type(params[parent]) and v == params[parent] for v in wanted)
            for parent, wanted in self._conditions(self._dimensions[name])
        )

    def from_unit(self, u: Sequence[float] | np.ndarray) -> Params:
        """The configuration at a point of the unit cube.

        Args:
            u: one coordinate per dimension, active or not; shape (D), in [0, 1].

        Returns:
            The configuration, of the active dimensions alone.

        Raises:
            TypeError: u is no sequence.
            ValueError: u is of another length.
        """
        require_type(hasattr(u, "__len__"), "Space.from_unit", "u", "a sequence of numbers", u)
        require(len(u) == len(self), "Space.from_unit", "u", f"of length {len(self)}", len(u))
        params: Params = {}
        for name, coordinate in zip(self._dimensions, u, strict=True):
            if self.active(name, params):
                params[name] = self._dimensions[name].from_unit(float(coordinate))
        return params

    def to_unit(self, params: Mapping[str, Value]) -> np.ndarray:
        """The point of the unit cube that stands for a configuration; an absent dimension lies at 0.5.

        Args:
            params: a configuration of the space.

        Returns:
            Shape (D), in [0, 1], float64.
        """
        return np.array([d.to_unit(params[n]) if n in params else 0.5 for n, d in self._dimensions.items()])

    def sample(self, rng: np.random.Generator) -> Params:
        """One configuration, every dimension drawn from its own distribution.

        >>> space = Space({"x": Uniform(0.0, 1.0)})
        >>> 0 <= space.sample(np.random.default_rng(0))["x"] < 1
        True
        """
        return self.from_unit(rng.random(len(self)))

    def check(self, params: Mapping[str, Value]) -> None:
        """Refuse what is no configuration of this space: right names, right values.

        Raises:
            TypeError: `params` is no mapping.
            ValueError: an unknown, missing or inactive name; a value that the dimension cannot have.
        """
        require_type(isinstance(params, Mapping), "Space", "params", "a mapping", params)
        for name in params:
            require(name in self._dimensions, "Space", "every parameter", f"one of {self.names}", name)
        for name, dimension in self._dimensions.items():
            if self.active(name, params):
                require(name in params, "Space", name, "given", dict(params))
                require(dimension.contains(params[name]), "Space", name, f"in {dimension!r}", params[name])
            else:
                require(name not in params, "Space", name, "absent, by its condition", dict(params))
