"""What the trusted side makes of a submission that hangs, dies, floods or lies."""

import gc
import os
import select
import signal
import time

import pytest
import torch

from autograder.sandbox import Sandbox, SandboxConfig, StudentFailure, wire
from autograder.sandbox.client import Zygote, use_offered

from .conftest import SMALL

FINE = "def fine():\n    return 42"


def fails(worker, source, name="bad", seconds=2.0, args=()):
    """Define `bad` in a cell, call it, and return the failure."""
    assert worker.run_cell(source).status == "ok"
    with worker.limits(seconds=seconds), pytest.raises(StudentFailure) as caught:
        getattr(worker.student, name)(*args)
    assert len(caught.value.message) <= 500
    assert caught.value.message.isprintable()
    return caught.value


def still_grades(worker):
    return worker.student.fine() == 42


@pytest.fixture
def sandbox(sandboxes):
    return sandboxes("namespaces")  # what follows does not depend on the tier


@pytest.fixture
def answered(worker):
    assert worker.run_cell(FINE).status == "ok"
    return worker


# Cells


def test_a_cell_reports_outputs_as_nbformat_does(worker):
    result = worker.run_cell("import sys\nprint('out')\nprint('err', file=sys.stderr)\n6 * 7")
    assert result.status == "ok"
    kinds = [(output["output_type"], output.get("name")) for output in result.outputs]
    assert kinds == [("stream", "stdout"), ("stream", "stderr"), ("execute_result", None)]
    assert result.outputs[2]["data"] == {"text/plain": "42"}


def test_a_failing_cell_names_its_error(worker):
    result = worker.run_cell("1 / 0")
    assert (result.status, result.ename, result.evalue) == ("error", "ZeroDivisionError", "division by zero")
    assert result.outputs[-1]["output_type"] == "error"


def test_a_syntax_error_is_an_error_of_the_cell(worker):
    assert worker.run_cell("def f(:").ename == "SyntaxError"


def test_state_and_random_numbers_go_on_from_cell_to_cell(worker):
    worker.run_cell(
        "import torch\ntorch.manual_seed(3)\ntorch.set_default_dtype(torch.float64)\nfirst = torch.rand(2)"
    )
    worker.run_cell(FINE)
    worker.student.fine()
    worker.run_cell("second = torch.rand(2)")
    torch.manual_seed(3)
    expected = torch.rand(2, dtype=torch.float64), torch.rand(2, dtype=torch.float64)
    assert torch.equal(worker.student.first, expected[0])
    assert torch.equal(worker.student.second, expected[1])


def test_calls_start_from_a_clean_torch(worker):
    worker.run_cell(
        "import sys, torch\ntorch.set_default_dtype(torch.float64)\ntorch.set_grad_enabled(False)\n"
        "torch.use_deterministic_algorithms(True)\ntorch.set_num_threads(2)\nsys.setrecursionlimit(99999)\n"
        "torch.autograd.set_detect_anomaly(True)\ntorch.set_default_device('meta')\n"
        "def state():\n    return (torch.get_default_dtype(), torch.is_grad_enabled(), torch.get_num_threads(),"
        " torch.are_deterministic_algorithms_enabled(), torch.is_anomaly_enabled(), torch.ones(1).device.type,"
        " sys.getrecursionlimit())"
    )
    assert worker.student.state() == (torch.float32, True, 1, False, False, "cpu", 1000)


def test_a_seed_makes_a_block_repeatable_and_draws_differ_within_it(worker):
    worker.run_cell("import torch, random\ndef draw():\n    return torch.rand(3).tolist(), random.random()")
    blocks = []
    for _ in range(2):
        with worker.limits(seed=5):
            blocks.append([worker.student.draw(), worker.student.draw()])
    assert blocks[0] == blocks[1]
    assert blocks[0][0] != blocks[0][1]


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("%%bash\nls", "CalledProcessError|PermissionError|not found|Operation not permitted|shell"),
        ("input('name?')", "input"),
        ("exit()", "exit"),
    ],
)
def test_what_cannot_run_here_says_so(worker, source, words):
    result = worker.run_cell(source)
    assert result.status == "error"
    assert any(word in result.ename + result.evalue for word in words.split("|"))


@pytest.mark.parametrize("source", ["!ls", "%pip install x", "files = !ls\nassert list(files) == []"])
def test_a_shell_command_says_that_there_is_no_shell_and_the_cell_goes_on(worker, source):
    result = worker.run_cell(f"{source}\ndef f(): return 1")
    assert result.status == "ok"
    assert "shell commands" in str(result.outputs)
    assert worker.student.f() == 1


def test_what_stands_below_a_failed_line_runs_only_where_asked(worker):
    source = "import a_package_that_is_missing\ndef {}(): return 1"
    assert worker.run_cell(source.format("f")).status == "error"
    assert worker.run_cell(source.format("g"), to_the_end=True).status == "error"
    assert not hasattr(worker.student, "f")
    assert worker.student.g() == 1


def test_ordinary_magics_run(worker):
    assert worker.run_cell("%matplotlib inline\n%timeit -n1 -r1 1 + 1\n%%time\n1").status in ("ok", "error")
    assert worker.run_cell("%precision 3\n%load_ext autoreload\n%autoreload 2").status == "ok"


def test_garbage_is_collected_as_in_any_notebook(worker):
    shown = worker.run_cell("import gc\n(gc.isenabled(), gc.get_threshold())").outputs
    assert shown[0]["data"]["text/plain"] == str((True, gc.get_threshold()))


def test_data_loader_workers_and_compile_fall_back(worker):
    result = worker.run_cell(
        "import torch\nfrom torch.utils.data import DataLoader, TensorDataset\n"
        "loader = DataLoader(TensorDataset(torch.arange(4.0)), batch_size=2, num_workers=2, persistent_workers=True)\n"
        "total = sum(batch[0].sum().item() for batch in loader)\n"
        "@torch.compile\ndef double(x):\n    return 2 * x\n"
        "tripled = torch.compile(lambda x: 3 * x, fullgraph=True)(torch.ones(1)).item()\n"
        "model = torch.nn.Linear(1, 1); model.compile()"
    )
    assert result.status == "ok", result.evalue
    assert (worker.student.total, worker.student.tripled) == (6.0, 3.0)
    assert worker.student.double(torch.ones(1)).item() == 2.0


def test_a_flood_of_text_is_cut(worker):
    result = worker.run_cell("for _ in range(50):\n    print('x' * (1 << 20))", seconds=20)
    assert result.status == "ok"
    assert sum(len(output.get("text", "")) for output in result.outputs) < 2 << 20


def test_a_50_mb_representation_is_cut(worker):
    source = "class Big:\n    def __repr__(self):\n        return 'x' * (50 << 20)\n"
    result = worker.run_cell(source + "    def _repr_html_(self):\n        return 'y' * (50 << 20)\nBig()")
    assert len(str(result.outputs)) < 10 << 20


def test_a_million_outputs_are_cut(worker):
    result = worker.run_cell(
        "from IPython.display import display\nfor n in range(3000):\n    display(n)", seconds=30
    )
    assert len(result.outputs) <= 1000


# Time


@pytest.mark.parametrize(
    "body",
    [
        "while True: pass",
        "import time; time.sleep(1000)",
        "import itertools; sum(itertools.repeat(1))",
        "import re; re.match(r'(a+)+$', 'a' * 60 + 'b')",
        "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)\n    while True: pass",
        "while True:\n        try:\n            while True: pass\n        except BaseException: pass",
        "import threading; threading.Event().wait()",
        "import os; os.kill(os.getpid(), 19)\n    import time; time.sleep(1000)",
    ],
)
def test_endless_work_ends_at_its_deadline(answered, body):
    started = time.monotonic()
    failed = fails(answered, f"def bad():\n    {body}", seconds=0.5)
    assert failed.kind == "timeout"
    assert "0.5 seconds" in failed.message
    assert time.monotonic() - started < 6
    assert still_grades(answered)


def test_a_block_has_one_budget(answered):
    answered.run_cell("import time\ndef nap():\n    time.sleep(0.4)")
    with answered.limits(seconds=1.0):
        answered.student.nap()
        with pytest.raises(StudentFailure) as caught:
            [answered.student.nap() for _ in range(10)]
    assert caught.value.kind == "timeout"
    assert still_grades(answered)


def test_an_endless_cell_is_interrupted_and_the_process_kept(answered):
    result = answered.run_cell("kept = 1\nwhile True: pass", seconds=0.5)
    assert (result.status, answered.restarts) == ("timeout", 0)
    assert answered.student.kept == 1


def test_an_endless_cell_that_cannot_be_interrupted_is_killed_and_not_replayed(answered):
    source = "import signal\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\nwhile True: pass"
    assert answered.run_cell(source, seconds=0.5).status == "timeout"
    assert still_grades(answered)
    assert answered.restarts == 1


# Death


@pytest.mark.parametrize(
    ("body", "kinds", "words"),
    [
        ("import os; os._exit(3)", "crashed", "ended the Python process"),
        ("import ctypes; ctypes.string_at(0)", "crashed", "segmentation fault"),
        ("import os; os.abort()", "crashed", "crashed"),
        ("import os; os.closerange(0, 4096)", "crashed", "ended"),
        ("import sys; sys.exit(2)", "raised", "SystemExit"),
        ("raise KeyboardInterrupt", "raised", "KeyboardInterrupt"),
        (
            "import sys; sys.setrecursionlimit(10**9)\n    f = lambda: f()\n    f()",
            "crashed memory raised timeout",
            "",
        ),
        ("return bad()", "raised", "RecursionError"),
        ("import torch; return torch.empty(30 << 30, dtype=torch.uint8).fill_(1)", "memory", "memory"),
        ("return bytearray(30 << 30)", "memory", "memory"),
        ("import numpy; return numpy.ones(30 << 27)", "memory", "memory"),
        ("x = [0]\n    while True: x = x * 2", "memory crashed", "memory"),
    ],
)
def test_a_dying_call_costs_only_itself(answered, body, kinds, words):
    failed = fails(answered, f"def bad():\n    {body}", seconds=3)
    assert failed.kind in kinds.split()
    assert words in failed.message
    assert still_grades(answered)


def test_a_cell_that_dies_is_named_and_the_others_replayed(answered):
    result = answered.run_cell("import os; os._exit(0)")
    assert (result.status, result.ename) == ("crashed", "DeadKernelError")
    assert still_grades(answered)


def test_a_memory_bomb_in_a_cell_is_named(answered):
    assert answered.run_cell("x = bytearray(30 << 30)").status == "memory"


def test_a_replayed_cell_that_now_dies_is_dropped(answered):
    source = "import os\nif os.path.exists('mark'): os._exit(1)\ndef bad():\n    os._exit(0)"
    answered.run_cell("def f(): return 'first'")
    answered.run_cell("import random\nif random.random() > 2: pass")
    answered.run_cell("import time\nborn = time.time()")
    assert fails(answered, source).kind == "crashed"
    assert answered.student.f() == "first"


def test_objects_of_a_dead_process_say_so(answered):
    answered.run_cell("class Box:\n    def get(self): return 1\nimport os\ndef bad(): os._exit(0)")
    box = answered.student.Box()
    function = answered.student.fine
    assert box.get() == 1
    with pytest.raises(StudentFailure):
        answered.student.bad()
    with pytest.raises(StudentFailure) as caught:
        box.get()
    assert "restarted" in caught.value.message
    assert function() == 42


def test_threads_left_running_do_no_harm(answered):
    answered.run_cell(
        "import threading, time\ndef spin():\n    while True: time.sleep(0.001)\n"
        "def bad():\n    for _ in range(8): threading.Thread(target=spin, daemon=True).start()\n    return 1"
    )
    assert answered.student.bad() == 1
    assert still_grades(answered)


# Lies

WRITE = """
import os, json, struct
def frame(message):
    header = json.dumps({'buffers': [], 'message': message}).encode()
    return b'GSB1' + struct.pack('!I', len(header)) + header
"""


@pytest.mark.parametrize(
    "body",
    [
        "os.write(3, b'garbage' * 1000)",
        "os.write(3, b'GSB1' + b'\\xff' * 4)",
        "os.write(3, b'GSB1' + struct.pack('!I', 10) + b'{\"buffers\"')",
        "os.write(3, frame({'reply': 10**6, 'value': 1}))",
        "os.write(3, frame({'reply': True}))",
        "os.write(3, frame({}))",
        "os.write(3, frame({'op': 'callback', 'fn': 999, 'args': [], 'kwargs': {}}))",
        "os.write(3, frame({'op': 'cell'}))",
        "os.write(3, frame({'reply': 3, 'value': {'$': 'h', 'i': 'x'}}) * 100)",
        "os.write(3, frame({'reply': 3, 'error': [1]}))",
        "os.write(3, b'[' * 100000)",
        "os.write(3, b'GSB1' + struct.pack('!I', 1 << 20) + b'[' * (1 << 20))",
    ],
)
def test_garbage_on_the_connection_is_unreadable_and_costs_one_call(answered, body):
    source = WRITE + f"def bad():\n    {body}\n    import time; time.sleep(0.2)\n    return 1"
    assert answered.run_cell(source).status == "ok"
    try:
        with answered.limits(seconds=2):
            answered.student.bad()
    except StudentFailure as failed:
        assert failed.kind in ("unreadable", "timeout", "crashed", "raised")  # noqa: PT017
    for _ in range(3):  # what was written too much must not pass for the next answers
        try:
            if still_grades(answered):
                break
        except StudentFailure:
            continue
    assert still_grades(answered)


def test_a_worker_that_does_not_read_cannot_block_the_grader(answered):
    answered.run_cell("import os, time\ndef bad(x):\n    time.sleep(60)")
    started = time.monotonic()
    with answered.limits(seconds=1), pytest.raises(StudentFailure) as caught:
        answered.student.bad(torch.zeros(8 << 20))
    assert caught.value.kind == "timeout"
    assert time.monotonic() - started < 5


@pytest.mark.parametrize(
    "patch",
    [
        "import json; json.dumps = lambda *a, **k: '{}'",
        "import json; json.loads = lambda *a, **k: 1 / 0",
        "import struct; struct.pack = struct.unpack = lambda *a: b''",
        "import builtins; builtins.isinstance = lambda *a: True",
        "import builtins; builtins.len = lambda x: -1",
        "import torch; torch.Tensor.detach = lambda self: self",
        "import torch; torch.equal = torch.allclose = lambda *a, **k: True",
        "import socket; socket.socket.send = lambda *a: 0",
        "import sys; sys.modules['_sandbox.wire'].pack = lambda *a: [b'x']",
        "import sys; sys.modules.clear()",
        "import gc\nfor o in gc.get_objects():\n    if type(o).__name__ == 'Service': o.__dict__.clear()",
    ],
)
def test_whatever_is_patched_in_the_worker_the_trusted_side_copes(sandbox, patch):
    with sandbox.open() as worker:
        worker.run_cell("import torch\ndef f(x):\n    return x + 1", seconds=5)
        worker.run_cell(patch, seconds=2)
        with worker.limits(seconds=2):
            try:
                got = worker.student.f(torch.ones(2))
            except StudentFailure as failed:
                assert failed.message  # noqa: PT017
            else:
                assert got is None or isinstance(
                    got, torch.Tensor | int | float | str | bool | list | tuple | dict
                )
    with sandbox.open() as other:
        other.run_cell(FINE)
        assert still_grades(other)


@pytest.mark.parametrize(
    "body",
    [
        "return torch.ones(1).expand(1 << 40)",
        "return torch.ones(64 << 20)",
        "return 'x' * (64 << 20)",
        "return [0] * (1 << 22)",
        "return torch.ones(2).to_sparse()",
        "return torch.ones(2, device='meta')",
        "x = []\n    for _ in range(5000): x = [x]\n    return x",
        "x = []; x.append(x)\n    return x",
        "return 10 ** 100_000",
        "return np.array([object()])",
        "return np.zeros(3, dtype='M8[s]')",
        "return {n: 0 for n in range(20_000)}",
    ],
)
def test_values_that_do_not_fit_are_named(answered, body):
    failed = fails(answered, f"import numpy as np, torch\ndef bad():\n    {body}", seconds=10)
    assert failed.kind in ("unreadable", "memory")
    assert answered.restarts == 0
    assert still_grades(answered)


def test_messages_are_bounded_and_printable(answered):
    failed = fails(answered, "def bad():\n    raise ValueError('\\x1b[31m\\u202e' + 'x' * 100_000 + '\\n')")
    assert "\x1b" not in failed.message
    failed = fails(
        answered, "class E(Exception):\n    def __str__(self): raise self\ndef bad():\n    raise E"
    )
    assert failed.kind == "raised"


# Bans


@pytest.mark.parametrize(
    ("name", "body"),
    [
        ("torch.nn.functional.mse_loss", "return F.mse_loss(torch.ones(2), torch.zeros(2))"),
        ("torch.nn.functional.mse_loss", "return mse_loss(torch.ones(2), torch.zeros(2))"),
        ("torch.optim.Adam", "return torch.optim.Adam([torch.ones(1, requires_grad=True)])"),
        ("torch.optim", "return torch.optim.SGD([torch.ones(1, requires_grad=True)])"),
        ("torch.nn.BatchNorm1d", "return nn.BatchNorm1d(3)(torch.ones(2, 3))"),
        ("torch.Tensor.softmax", "return torch.ones(3).softmax(0)"),
        ("torch.nn.init.kaiming_normal_", "return nn.init.kaiming_normal_(torch.ones(3, 3))"),
    ],
)
def test_forbidden_calls_are_named(answered, name, body):
    imports = (
        "from torch.nn.functional import mse_loss\nimport torch.nn.functional as F\nfrom torch import nn\n"
    )
    assert answered.run_cell(f"import torch\n{imports}def bad():\n    {body}").status == "ok"
    with answered.limits(forbid=(name,)), pytest.raises(StudentFailure) as caught:
        answered.student.bad()
    assert caught.value.kind == "forbidden"
    assert name in caught.value.message
    with answered.limits():
        answered.student.bad()


NLL = ("torch.ops.aten.cross_entropy_loss", "torch.ops.aten.nll_loss_nd", "torch.ops.aten.nll_loss2d")
NLL += ("torch.ops.aten.nll_loss_forward", "torch.nn.functional.cross_entropy")
GRADIENT = ("torch.autograd.grad", "torch.Tensor.backward")


HIDDEN = {
    "in a thread": (
        NLL,
        "from concurrent.futures import ThreadPoolExecutor\n"
        "with ThreadPoolExecutor() as pool: return pool.submit(F.cross_entropy, x, y).result()",
    ),
    "without torch's functions": (
        NLL,
        "with torch._C.DisableTorchFunction(): return F.cross_entropy(x, y)",
    ),
    "with the mode popped": (
        NLL,
        "if not torch._C._len_torch_function_stack(): return F.cross_entropy(x, y)\n"
        "mode = torch.overrides._pop_mode()\ntry: return F.cross_entropy(x, y)\n"
        "finally: torch.overrides._push_mode(mode)",
    ),
    "an operator not named": (
        NLL,
        "return torch.ops.aten.nll_loss2d_forward(x[:, :, None, None], y[:, None, None], None, 1, -100)",
    ),
    "the engine": (
        GRADIENT,
        "return torch.autograd.graph._engine_run_backward((x.sum(),), (x.sum(),), False, False, (), True, True)",
    ),
    "forward mode": (
        GRADIENT,
        "with A.dual_level(): return A.unpack_dual(A.make_dual(x, x).exp()).tangent",
    ),
    "functional forward mode": (GRADIENT, "return torch.func.jvp(torch.exp, (x,), (x,))"),
    "the graph's nodes": (GRADIENT, "return x.sum().grad_fn(torch.ones(()))"),
    "a gradient in a thread": (
        GRADIENT,
        "from concurrent.futures import ThreadPoolExecutor\n"
        "with ThreadPoolExecutor() as pool: return pool.submit(x.sum().backward).result()",
    ),
}


@pytest.mark.parametrize(("forbid", "body"), HIDDEN.values(), ids=HIDDEN)
def test_forbidden_work_is_refused_where_the_call_is_hidden(answered, forbid, body):
    """Each of these must also work again where it is allowed, in the same process."""
    lines = "\n".join(f"    {line}" for line in body.splitlines())
    source = "import torch\nimport torch.nn.functional as F\nimport torch.autograd.forward_ad as A\n"
    source += f"def bad():\n    x, y = torch.ones(2, 3, requires_grad=True), torch.tensor([0, 1])\n{lines}"
    assert answered.run_cell(source).status == "ok"
    with answered.limits(forbid=forbid), pytest.raises(StudentFailure) as caught:
        answered.student.bad()
    assert caught.value.kind == "forbidden", caught.value
    with answered.limits():
        answered.student.bad()


def test_allowed_calls_pass_beside_forbidden_ones(answered):
    answered.run_cell(
        "import torch\nfrom torch import nn\ndef ok(x):\n    return nn.LayerNorm(3)(x).softmax(0)"
    )
    with answered.limits(forbid=("torch.nn.functional.batch_norm", "torch.optim.Adam", "torch.nothing")):
        assert answered.student.ok(torch.ones(2, 3)).shape == (2, 3)


# The sandbox itself


@pytest.mark.slow
def test_a_dead_zygote_is_replaced(answered, sandbox):
    starts = sandbox.starts
    os.kill(sandbox._zygote._process.pid, signal.SIGKILL)
    sandbox._zygote._process.wait(10)
    with pytest.raises(StudentFailure):
        [(answered.student.fine(), time.sleep(0.01)) for _ in range(100)]
    assert still_grades(answered)
    assert sandbox.starts == starts + 1


def test_nothing_of_a_worker_remains(sandbox):
    def descriptors():
        return len(os.listdir("/proc/self/fd"))

    gc.collect()
    before = descriptors()
    for _ in range(3):
        with sandbox.open() as worker:
            worker.run_cell("open('f', 'w').write('x')\nimport os\nos.mkdir('d'); os.chmod('d', 0)")
            work = worker._process._work
        assert work is None or not os.path.exists(work)
    assert descriptors() == before


# One zygote, several graders


def test_a_joined_zygote_serves_on_when_a_joiner_leaves_and_ends_with_its_owner(sandbox):
    config = SandboxConfig(tier="namespaces", **SMALL)
    owner = Zygote(config.for_zygote("namespaces"), None)
    use_offered(owner.offer())
    try:
        with Sandbox(config) as first, Sandbox(config) as second:
            assert first.report == second.report == owner.wait_until_ready()
            with first.open() as worker:
                assert worker.run_cell(FINE).status == "ok"
                assert still_grades(worker)
            first.close()
            with second.open() as worker:
                assert worker.run_cell(FINE).status == "ok"
                assert still_grades(worker)
                owner.close()
                with pytest.raises(StudentFailure):
                    worker.student.fine()
            with second.open() as worker:  # starts a zygote of its own
                assert worker.run_cell(FINE).status == "ok"
                assert still_grades(worker)
    finally:
        use_offered(None)
        owner.close()


def test_an_offered_zygote_of_another_configuration_is_not_joined(sandbox):
    other = SandboxConfig(tier="namespaces", **SMALL, seed=7)
    owner = Zygote(other.for_zygote("namespaces"), None)
    use_offered(owner.offer())
    try:
        with Sandbox(SandboxConfig(tier="namespaces", **SMALL)) as own, own.open() as worker:
            owner.close()
            assert worker.run_cell(FINE).status == "ok"
            assert still_grades(worker)
    finally:
        use_offered(None)
        owner.close()


def test_a_worker_does_not_outlive_the_grader_that_asked_for_it(sandbox):
    process = sandbox.spawn()
    watched = os.dup(process._descriptor)
    wire.send(process.connection, wire.pack({"op": "cell", "id": 1, "source": "while True: pass"}))
    process.connection.close()  # what the end of a killed grading process closes
    process._monitor.close()
    poll = select.poll()
    poll.register(watched, select.POLLIN)
    assert poll.poll(10_000), "the worker still runs"
    os.close(watched)


def test_a_function_is_looked_up_once_and_a_value_every_time(answered, monkeypatch):
    assert answered.run_cell("count = 0\ndef step():\n    global count\n    count += 1").status == "ok"
    asked = []
    do = answered.do
    monkeypatch.setattr(answered, "do", lambda what, *args, **kw: asked.append(what) or do(what, *args, **kw))
    student = answered.student
    for expected in (1, 2):
        student.step()
        assert student.count == expected
    assert asked.count("lookup") == 3
    assert asked.count("call") == 2


def test_only_the_students_time_uses_up_the_budget(answered):
    assert answered.run_cell("import time\ndef nap(s):\n    time.sleep(s)").status == "ok"
    student = answered.student
    with answered.limits(seconds=1.5):
        time.sleep(2)  # the test's own computing
        student.nap(0.9)
        with pytest.raises(StudentFailure) as caught:
            student.nap(0.9)
    assert caught.value.kind == "timeout"
