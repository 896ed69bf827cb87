"""What every first-order optimizer here shares: groups, state, checkpoints, and the choice between two forms.

A rule is a pair. `update` is the formula as the docstring states it, made of new tensors. `update_in_place` is the
same step without temporaries, on one tensor or on a list of them. Tests hold the two equal. `step` takes

    the formula        when autograd, torch.compile or a captured graph has to see through the step;
    lists of tensors   on an accelerator, and for small tensors on a CPU (one call for many tensors);
    blocks             for large tensors on a CPU: a block of each operand fits the cache, so memory is read once,
                       and what is new in one block lies where it lay in the last: no fresh memory.
"""

import copy
from collections.abc import Callable
from typing import Any, ClassVar

import torch
from torch import Tensor

from ._ops import Ops
from ._options import check_params
from ._plan import HALF, Columns, one_kind, plan

Group = dict[str, Any]


def scalar_dtype() -> torch.dtype:
    """The dtype of step counters, torch's own choice: float64 only where that is the default dtype."""
    return torch.float64 if torch.get_default_dtype() == torch.float64 else torch.float32


def keeps_float32(theta: Tensor, group: Group) -> bool:
    """Whether the state is wider than the parameter; torch's fused kernels want one dtype."""
    return theta.dtype in HALF and not group.get("fused")


def plain_numbers(group: Group) -> Group:
    """The group with CPU tensors among its hyperparameters read as numbers; a tensor elsewhere stays: no sync."""

    def number(value: Any) -> Any:
        if isinstance(value, Tensor):
            return value.item() if value.device.type == "cpu" and not value.requires_grad else value
        if isinstance(value, tuple):
            return tuple(number(entry) for entry in value)
        return value

    return {name: value if name == "params" else number(value) for name, value in group.items()}


def holds_a_tensor(group: Group) -> bool:
    """Whether a hyperparameter is a tensor, alone or in a pair."""
    for value in group.values():
        if isinstance(value, Tensor):
            return True
        if isinstance(value, tuple):  # "params" is a list
            for entry in value:
                if isinstance(entry, Tensor):
                    return True
    return False


class FormulaOptimizer(torch.optim.Optimizer):
    """Base of the rules that need one gradient per step. A rule supplies the three methods below the line.

    State is kept per parameter under torch's names. It has the parameter's dtype, except that half precision keeps
    it in float32: the arithmetic is done in float32 and rounded once, when the parameter is written. (In float16
    `(1 - 0.999) * g * g` is 0 for every |g| below 0.005, and so is Adam's eps of 1e-8.)

    Set `optimizer.as_written = True` to run the formula instead of its in-place form: slower, and made for reading
    in a debugger.
    """

    as_written = False
    elementwise: ClassVar[bool] = True  # False where an entry's step depends on the others: no blocks
    in_lists: ClassVar[bool] = True  # False where the in-place form takes one tensor at a time
    clock_names: ClassVar[tuple[str, ...]] = ("step",)  # the state entries that are one number per parameter
    supports_sparse: ClassVar[bool] = False
    supports_complex: ClassVar[bool] = True

    # ---- what a rule supplies --------------------------------------------------------------------------------

    @staticmethod
    def check(where: str, options: Group) -> None:
        """Raise ValueError if a hyperparameter is out of its range."""
        raise NotImplementedError

    def state_names(self, group: Group) -> tuple[str, ...]:
        """The names of the state tensors, in the order in which `update` takes them."""
        raise NotImplementedError

    def update(
        self, theta: Tensor, g: Tensor, state: tuple[Tensor, ...], group: Group, *clock: Any
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """The formula: the new theta and the new state."""
        raise NotImplementedError

    def update_in_place(self, ops: Ops, theta: Any, g: Any, state: Any, group: Group, *clock: Any) -> None:
        """The same step in place, on tensors (`ops=one`) or on lists (`ops=many`); `g` is read only."""
        raise NotImplementedError

    # ---- what a rule may replace -----------------------------------------------------------------------------

    def parts(self, group: Group) -> list[Group]:
        """The group, split where its parameters differ in the state that they have."""
        return [group]

    def new_state(self, theta: Tensor, group: Group) -> dict[str, Tensor]:
        """The state before the first step: zeros."""
        dtype = torch.float32 if keeps_float32(theta, group) else theta.dtype
        return {
            name: torch.zeros_like(theta, dtype=dtype, memory_format=torch.preserve_format)
            for name in self.state_names(group)
        }

    def new_clock(self, theta: Tensor, group: Group) -> dict[str, Tensor]:
        """The step counter, a tensor as torch has it: on the CPU unless a captured graph must advance it."""
        device = theta.device if group.get("capturable") or group.get("fused") else "cpu"
        return {"step": torch.zeros((), dtype=scalar_dtype(), device=device)} if self.clock_names else {}

    def advance(self, states: list[dict[str, Any]], group: Group) -> None:
        """Count the step."""
        if not self.clock_names:
            return
        steps = [state["step"] for state in states]
        if torch.compiler.is_compiling() or steps[0].device.type != "cpu":
            torch._foreach_add_(steps, 1)
        else:  # a number would be wrapped into a tensor once per counter
            torch._foreach_add_(steps, torch.ones_like(steps[0]), alpha=1)

    def clocks(
        self, thetas: list[Tensor], states: list[dict[str, Any]], group: Group, *, as_numbers: bool
    ) -> list[tuple[Any, ...]]:
        """What `update` is told of time, per parameter. Counters live on the CPU: reading them waits for nothing."""
        columns = [[state[name] for state in states] for name in self.clock_names]
        if as_numbers:
            columns = [[counter.item() for counter in column] for column in columns]
        return list(zip(*columns, strict=True)) if columns else [()] * len(thetas)

    def update_fused(
        self,
        thetas: list[Tensor],
        gs: list[Tensor],
        columns: Columns,
        clocks: list[tuple[Any, ...]],
        group: Group,
    ) -> None:
        """torch's own kernel, for the rules with a `fused` argument; the clocks are tensors."""
        raise NotImplementedError

    def update_sparse(self, theta: Tensor, g: Tensor, state: dict[str, Any], group: Group) -> None:
        """The step of the rows that a sparse gradient names, for the rules that support one."""
        raise NotImplementedError

    # ---- the machinery ---------------------------------------------------------------------------------------

    def __init__(self, params: Any, defaults: Group) -> None:
        where = type(self).__name__
        self.check(where, defaults)
        if defaults.get("fused"):
            if defaults.get("differentiable"):
                raise RuntimeError(f"{where}: `fused` does not support `differentiable`")
            if defaults.get("foreach"):
                raise RuntimeError(f"{where}: `fused` and `foreach` cannot be `True` together")
        super().__init__(check_params(where, params), defaults)

    def add_param_group(self, param_group: Group) -> None:
        """Add a group; its own hyperparameters are checked like the defaults."""
        super().add_param_group(param_group)
        try:
            self.check(type(self).__name__, self.param_groups[-1])
        except (TypeError, ValueError):
            self.param_groups.pop()
            raise

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One step on every parameter that has a gradient; returns the closure's loss, if there is a closure."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        with torch.set_grad_enabled(bool(self.defaults.get("differentiable"))):
            for group in self.param_groups:
                for part in self.parts(group):
                    self._step_group(part)
        return loss

    def _step_group(self, group: Group) -> None:
        tracing = torch.compiler.is_compiling()
        by_tensor = not tracing and holds_a_tensor(group)
        if by_tensor:
            group = plain_numbers(group)
            by_tensor = holds_a_tensor(group)
        thetas, gs, states = self._begin(group)
        if not tracing and thetas:
            self._refuse_what_it_cannot(thetas, group)
            if True in [g.is_sparse for g in gs]:
                thetas, gs, states = self._step_sparse(thetas, gs, states, group)
        if not thetas:
            return
        self.advance(states, group)
        if tracing or self.as_written or group.get("capturable") or group.get("differentiable") or by_tensor:
            clocks = self.clocks(thetas, states, group, as_numbers=not (tracing or group.get("capturable")))
            for theta, g, state, clock in zip(thetas, gs, states, clocks, strict=True):
                self._write_by_formula(theta, g, state, group, clock)
            return
        fused = bool(group.get("fused"))
        clocks = self.clocks(thetas, states, group, as_numbers=not fused)
        columns = tuple([[state[name] for state in states] for name in self.state_names(group)])
        for bucket, their_clocks in one_kind(thetas, gs, columns, clocks, ignore_clock=fused):
            if fused:
                self.update_fused(*bucket, their_clocks, group)
            else:
                self._write_in_place(*bucket, group, their_clocks[0])

    def _begin(self, group: Group) -> tuple[list[Tensor], list[Tensor], list[dict[str, Any]]]:
        """The parameters with a gradient, their gradients, and their state: made where this is the first step."""
        thetas, gs = [], []
        for theta in group["params"]:
            g = theta.grad
            if g is not None:
                thetas.append(theta)
                gs.append(g)
        names = (*self.clock_names, *self.state_names(group))
        if not names:  # touching self.state would leave an empty entry in the checkpoint
            return thetas, gs, [{} for _ in thetas]
        states = [self.state[theta] for theta in thetas]
        for theta, state in zip(thetas, states, strict=True):
            if len(state) < len(names):
                fresh = {**self.new_clock(theta, group), **self.new_state(theta, group)}
                state.update({name: value for name, value in fresh.items() if name not in state})
        return thetas, gs, states

    def _refuse_what_it_cannot(self, thetas: list[Tensor], group: Group) -> None:
        where = type(self).__name__
        if thetas[0].is_cuda and not group.get("capturable") and torch.cuda.is_current_stream_capturing():
            raise RuntimeError(f"{where}: capturable must be True inside a captured graph, got False")
        if not self.supports_complex and True in [theta.is_complex() for theta in thetas]:
            raise RuntimeError(
                f"{where}: parameters must be real, got a complex one ({where} does not support complex parameters)"
            )

    def _step_sparse(
        self, thetas: list[Tensor], gs: list[Tensor], states: list[dict[str, Any]], group: Group
    ) -> tuple[list[Tensor], list[Tensor], list[dict[str, Any]]]:
        """Step where the gradient is sparse; returns the others."""
        where = type(self).__name__
        if not self.supports_sparse or group.get("fused"):
            raise RuntimeError(
                f"{where}: gradients must be dense, got a sparse one ({where} does not support sparse gradients)"
            )
        for theta, g, state in zip(thetas, gs, states, strict=True):
            if g.is_sparse:
                self.advance([state], group)
                self.update_sparse(theta, g, state, group)
        dense = [i for i, g in enumerate(gs) if not g.is_sparse]
        return [thetas[i] for i in dense], [gs[i] for i in dense], [states[i] for i in dense]

    def _write_by_formula(
        self, theta: Tensor, g: Tensor, state: dict[str, Any], group: Group, clock: tuple[Any, ...]
    ) -> None:
        names = self.state_names(group)
        differentiable = group.get("differentiable", False)
        complex_valued = theta.is_complex()
        values = [state[name] for name in names]
        if complex_valued:  # a complex entry is two real ones
            theta, g = torch.view_as_real(theta), torch.view_as_real(g)
            values = [torch.view_as_real(value) for value in values]
        if theta.dtype in HALF:
            start, g = theta.float(), g.float()
        else:
            start = theta.clone() if differentiable else theta  # autograd must keep theta as it was
        end, new_values = self.update(start, g, tuple(values), group, *clock)
        theta.copy_(end)
        for name, value, new_value in zip(names, values, new_values, strict=True):
            if differentiable:
                state[name] = torch.view_as_complex(new_value) if complex_valued else new_value
            else:
                value.copy_(new_value)

    def _write_in_place(
        self, thetas: list[Tensor], gs: list[Tensor], columns: Columns, group: Group, clock: tuple[Any, ...]
    ) -> None:
        dtype = thetas[0].dtype
        if dtype.is_complex:
            thetas, gs, *rest = [[torch.view_as_real(x) for x in column] for column in (thetas, gs, *columns)]
            columns = tuple(rest)
        calls = plan(
            thetas,
            gs,
            columns,
            foreach=group.get("foreach"),
            elementwise=self.elementwise,
            in_lists=self.in_lists,
            reads_once=not columns and not group["weight_decay"],
        )
        for ops, theta, g, state in calls:
            if dtype in HALF:
                wide = ops.to_float32(theta)
                self.update_in_place(ops, wide, ops.to_float32(g), state, group, *clock)
                ops.copy_(theta, wide)
            else:
                self.update_in_place(ops, theta, g, state, group, *clock)

    # ---- checkpoints -----------------------------------------------------------------------------------------

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load a checkpoint of this class or of torch's class of the same name.

        torch casts the state to the parameter's dtype and device while loading. That would round the float32 state
        of half-precision parameters and put counters on the accelerator, so both are taken from the checkpoint. The
        checkpoint is copied: torch would go on to write into it.
        """
        super().load_state_dict(copy.deepcopy(state_dict))
        saved_ids = [number for group in state_dict["param_groups"] for number in group["params"]]
        thetas = [(theta, group) for group in self.param_groups for theta in group["params"]]
        for number, (theta, group) in zip(saved_ids, thetas, strict=True):
            saved = state_dict["state"].get(number, {})
            for name, value in saved.items():
                if name in self.clock_names:
                    on_device = group.get("capturable") or group.get("fused")
                    dtype = value.dtype if isinstance(value, Tensor) else scalar_dtype()
                    target = theta.device if on_device else "cpu"
                    self.state[theta][name] = torch.as_tensor(value, dtype=dtype).to(target, copy=True)
                elif keeps_float32(theta, group) and isinstance(value, Tensor):
                    self.state[theta][name] = value.to(theta.device, torch.float32, copy=True)

    def __getstate__(self) -> dict[str, Any]:
        written = {"as_written": self.as_written} if "as_written" in self.__dict__ else {}
        return {**super().__getstate__(), **written}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        for group in self.param_groups:
            for name, value in self.defaults.items():  # a checkpoint of an older version, or of torch
                group.setdefault(name, value)
            for theta in group["params"]:
                own = self.state.get(theta, {})
                for name in self.clock_names:
                    if name in own and not isinstance(own[name], Tensor):
                        own[name] = torch.tensor(float(own[name]), dtype=scalar_dtype())
