"""The in-place forms are the formula: one tensor, lists, blocks, odd layouts."""

import pytest
import torch

from gradatim.optim import _formula, _plan
from gradatim.optim._ops import Room, one_in

from .members import FORMULAS, MEMBERS, drive

PLANS = {"chosen": {}, "lists": {"foreach": True}, "one by one": {"foreach": False}}


@pytest.fixture(params=FORMULAS, ids=lambda member: member.name)
def member(request):
    return request.param


def takes_foreach(member):
    return member.name != "Muon"


def both_forms(member, make_params, plan, steps=14):
    """Parameters after `steps` steps by the in-place form and by the formula."""
    ends = []
    for as_written in (False, True):
        params = make_params()
        optimizer = member(params, **plan)
        optimizer.as_written = as_written
        for turn in range(steps):
            if turn == 5:
                for group in optimizer.param_groups:
                    group["lr"] *= 0.3
            drive(member, optimizer, params, 1, first=turn)
        ends.append((params, optimizer))
    return ends


def assert_same(ends):
    (fast, fast_optimizer), (slow, slow_optimizer) = ends
    # Muon rounds to bfloat16: the last bit of float64 decides, now and then, over one of eight.
    muon = type(fast_optimizer).__name__ == "Muon"
    tolerance = {"rtol": 5e-3, "atol": 1e-3} if muon else {"rtol": 1e-10, "atol": 1e-12}
    for a, b in zip(fast, slow, strict=True):
        torch.testing.assert_close(a, b, **tolerance)
    for a, b in zip(fast_optimizer.state.values(), slow_optimizer.state.values(), strict=True):
        assert list(a) == list(b)
        torch.testing.assert_close(a, b, **tolerance)


@pytest.mark.parametrize("plan", PLANS.values(), ids=PLANS)
def test_every_plan_takes_the_formulas_steps(member, plan):
    if plan and not takes_foreach(member):
        return
    assert_same(both_forms(member, member.params, plan))


@pytest.fixture
def small_blocks(monkeypatch):
    """Sizes at which these tests' tensors count as large, so that blocks and batches are cut."""
    monkeypatch.setattr(_plan, "WHOLE", 9)
    monkeypatch.setattr(_plan, "BLOCK", 8)
    monkeypatch.setattr(_plan, "BATCH", 12)
    monkeypatch.setattr(_plan, "SMALL", 6)


def test_blocks_and_batches_take_the_formulas_steps(member, small_blocks):
    """Sizes 35, 3, 1, 24 and three of 4: whole blocks, a ragged last block, and two batches of small tensors."""

    def make_params():
        few = [torch.linspace(-1, 1, 4, dtype=torch.float64).mul(i + 1).requires_grad_() for i in range(4)]
        return member.params() if member.name == "Muon" else [*member.params(), *few]

    assert_same(both_forms(member, make_params, {}))


def test_the_plan_cuts_where_it_says(small_blocks):
    calls = []

    class Recorder(_formula.FormulaOptimizer):
        clock_names = ()

        @staticmethod
        def check(where, options):
            pass

        def state_names(self, group):
            return ("s",)

        def update_in_place(self, ops, theta, g, state, group, *clock):
            sizes = [x.numel() for x in theta] if isinstance(theta, list) else theta.numel()
            calls.append(sizes)

    params = [torch.zeros(n, requires_grad=True) for n in (5, 20, 5, 5, 9)]
    for p in params:
        p.grad = torch.zeros_like(p)
    Recorder(params, {"weight_decay": 0}).step()
    assert calls == [8, 8, 4, [5, 5], 9, [5]]
    for foreach, expected in ((True, [[5, 20, 5, 5, 9]]), (False, [5, 20, 5, 5, 9])):
        calls.clear()
        Recorder(params, {"weight_decay": 0, "foreach": foreach}).step()
        assert calls == expected


def test_a_block_takes_the_last_blocks_memory():
    """What `one_in` makes within a block lies apart; the next block, of another size, overwrites it."""
    room = Room()
    ops = one_in(room)
    x, y = torch.full((2, 3), 0.3), torch.full((2, 3), 0.7)
    root, total = ops.sqrt(x), ops.add(x, y, 3.0)
    assert torch.equal(root, x.sqrt())
    assert torch.equal(total, torch.add(x, y, alpha=3.0))
    room.taken = 0
    short, longer = ops.shift(x.view(-1)[:4], 0.1), ops.mul(torch.full((7,), 0.3), 0.7)
    assert short.data_ptr() == root.data_ptr()
    assert torch.equal(short, torch.full((4,), 0.3) + 0.1)
    assert torch.equal(longer, torch.full((7,), 0.3) * 0.7)  # 7 do not fit where `total` lay
    assert torch.equal(total, torch.add(x, y, alpha=3.0))
    room.taken = 0
    assert ops.neg(x.double()).dtype == torch.float64


def test_a_number_is_wrapped_in_the_tensors_dtype():
    """0.3 in float64 is not float32's 0.3, and a wrapped number must not be mistaken for another one."""
    ops = one_in(Room())
    for dtype in (torch.float32, torch.float64):
        x = torch.full((3,), 0.7, dtype=dtype)
        for c in (0.3, 0.9):
            assert torch.equal(ops.mul(x, c), x * c)
            assert torch.equal(ops.shift_(x.clone(), c), x + c)
            assert torch.equal(ops.div_(x.clone(), c), x / c)
        assert torch.equal(ops.mul_(x.clone(), x), x * x)


def test_layouts_that_cannot_be_cut_are_stepped_whole(member, small_blocks):
    """A transposed parameter, a strided one, and a gradient whose strides are not its parameter's."""

    def make_params():
        wide, strided, plain = (
            member.params()[0].detach(),
            torch.zeros(6, 10, dtype=torch.float64)[:, ::2],
            None,
        )
        plain = torch.linspace(-1, 1, 30, dtype=torch.float64).view(5, 6)
        return [wide.t().requires_grad_(), (strided + 0.3).requires_grad_(), plain.clone().requires_grad_()]

    ends = []
    for as_written in (False, True):
        params = make_params()
        optimizer = member(params)
        optimizer.as_written = as_written
        for turn in range(6):
            for p in params:
                step = torch.linspace(0.1, 1, p.numel(), dtype=torch.float64).view(p.shape[1], p.shape[0])
                p.grad = step.t() * (1 + turn % 3)
            optimizer.step()
        ends.append((params, optimizer))
    assert_same(ends)


def test_a_step_leaves_no_large_temporary_behind(small_blocks):
    """The point of blocks: memory beyond the state is a block's, whatever the tensor's size."""
    seen = []
    for member in MEMBERS:
        if member.name not in ("Adam", "RMSprop", "Adagrad", "Lion"):
            continue
        theta = torch.ones(4096, requires_grad=True)
        optimizer = member([theta])
        theta.grad = torch.ones_like(theta)
        optimizer.step()
        with torch.profiler.profile(profile_memory=True) as profile:
            optimizer.step()
        events = profile.profiler.kineto_results.events()
        seen.append(max((e.nbytes() for e in events if e.name() == "[memory]"), default=0))
    assert len(seen) == 4
    assert max(seen) < 1024
