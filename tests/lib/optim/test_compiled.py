"""The step as one graph: torch.compile without a break, and the same numbers."""

import logging

import pytest
import torch

import gradatim.optim

from .members import FORMULAS

# Schedule-free rules keep their averaging weights as Python numbers, which would be compiled in anew every step.
COMPILED = [m for m in FORMULAS if not m.name.startswith("ScheduleFree")]


@pytest.fixture(autouse=True)
def fresh_compiler():
    torch.compiler.reset()
    torch._logging.set_logs(dynamo=logging.ERROR)
    yield
    torch._logging.set_logs()


@pytest.mark.parametrize("member", COMPILED, ids=lambda m: m.name)
def test_the_step_is_one_graph_with_the_eager_numbers(member):
    ends = []
    for compiled in (True, False):
        params = member.params()[:2]
        optimizer = member(params)
        step = torch.compile(optimizer.step, fullgraph=True, backend="eager") if compiled else optimizer.step
        for turn in range(4):
            for p in params:
                p.grad = torch.linspace(-1, 1, p.numel(), dtype=p.dtype).view(p.shape) * (1 + turn)
            step()
        ends.append(params)
    # Compiled, the step counter stays a float32 tensor, and so do the bias corrections.
    for a, b in zip(*ends, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6 if member.name != "Muon" else 1e-3)


def test_a_bias_correction_is_computed_once_and_not_for_every_entry():
    """In the loop over the entries two expm1 made the compiled Adam 3 times as slow as torch's fused one."""
    sources = []

    def keep(graph, inputs):
        sources.append(graph.code)
        return graph.forward

    theta = torch.ones(3, requires_grad=True)
    theta.grad = torch.ones(3)
    torch.compile(gradatim.optim.Adam([theta]).step, fullgraph=True, backend=keep)()
    assert sources[0].count("expm1(") == sources[0].count("as_strided(") == 2
