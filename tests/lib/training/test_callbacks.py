"""Early stopping, averages, logs: step by step against their definitions."""

import json
import math
import sys

import pytest
import torch
from torch import nn

from gradatim.training import EMA, Batches, Callback, EarlyStopping, JSONLLog, TensorBoardLog, Trainer

mse = nn.functional.mse_loss


def rows():
    generator = torch.Generator().manual_seed(0)
    return torch.randn(12, 3, generator=generator), torch.randn(12, 1, generator=generator)


def make(callbacks, lr=0.1, seed=0):
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 1))
    return Trainer(model, torch.optim.SGD(model.parameters(), lr=lr), mse, callbacks=callbacks)


class Script(Callback):
    """Puts made-up validation results in place of the measured ones; remembers the weights of each epoch."""

    order = -100  # on_validation_end is called in the opposite order: last

    def __init__(self, values):
        self.values, self.weights = values, []

    def on_start(self, trainer):
        self.evaluate = trainer.evaluate
        trainer.evaluate = lambda batches: {"loss": self.values[trainer.epoch]}

    def on_validation_start(self, trainer):
        self.weights.append(trainer.model[0].weight.detach().clone())


def stopped(values, **options):
    script, stopping = Script(values), EarlyStopping(**options)
    trainer = make([script, stopping])
    trainer.fit(Batches(*rows(), 4), epochs=len(values), validate=Batches(*rows(), 4))
    return trainer, script, stopping


@pytest.mark.parametrize(
    ("values", "options", "epochs", "best"),
    [
        ([5, 4, 3, 2, 1], {"patience": 0}, 5, 5),
        ([5, 4, 4, 3, 1], {"patience": 0}, 3, 2),  # a tie is no improvement
        ([5, 4, 6, 6, 3, 9], {"patience": 2}, 6, 5),
        ([5, 4, 6, 6, 6, 1], {"patience": 2}, 5, 2),  # the third bad epoch stops
        ([5, 4.95, 4.9, 4.85], {"patience": 1, "min_delta": 0.2}, 3, 1),
        ([1, 2, 3, 2, 1, 0], {"patience": 1, "maximize": True}, 5, 3),
        ([math.nan, math.nan, 1], {"patience": 1}, 2, 0),
        ([3, math.nan, 2], {"patience": 1}, 3, 3),
    ],
)
def test_early_stopping_stops_when_it_should(values, options, epochs, best):
    trainer, script, stopping = stopped(values, **options)
    assert len(script.weights) == epochs
    assert stopping.best_epoch == best
    if best:
        assert torch.equal(trainer.model[0].weight, script.weights[best - 1])


def test_early_stopping_keeps_the_last_weights_on_request():
    trainer, script, _ = stopped([1, 2, 3], patience=1, restore=False)
    assert torch.equal(trainer.model[0].weight, script.weights[-1])


def test_early_stopping_names_an_unknown_metric():
    trainer = make([EarlyStopping("accuracy")])
    with pytest.raises(ValueError, match=r"EarlyStopping: metric must be one of \['loss'\], got 'accuracy'"):
        trainer.fit(Batches(*rows(), 4), epochs=1, validate=Batches(*rows(), 4))


class Record(Callback):
    def __init__(self):
        self.states, self.in_validation = [], []

    def on_start(self, trainer):
        self.on_step(trainer)

    def on_step(self, trainer):
        self.states.append({k: v.clone() for k, v in trainer.model.state_dict().items()})

    def on_validation_start(self, trainer):
        self.in_validation.append({k: v.clone() for k, v in trainer.model.state_dict().items()})


def test_ema_is_the_recursion_and_validation_uses_it():
    record, ema = Record(), EMA(0.7, at_end=False)
    trainer = make([ema, record])
    trainer.fit(Batches(*rows(), 4), epochs=4, validate=Batches(*rows(), 4))
    average = record.states[0]["0.weight"].double()
    seen = []
    for t, state in enumerate(record.states[1:], start=1):
        d = min(0.7, (1 + t) / (10 + t))
        average = d * average + (1 - d) * state["0.weight"].double()
        seen.append(average)
    torch.testing.assert_close(ema.average["0.weight"].double(), seen[-1], rtol=1e-5, atol=1e-7)
    for epoch, state in enumerate(record.in_validation):
        torch.testing.assert_close(state["0.weight"].double(), seen[3 * epoch + 2], rtol=1e-5, atol=1e-7)
    # Buffers are copies, integers too; and training went on with its own weights.
    assert ema.average["1.num_batches_tracked"] == 12
    assert torch.equal(ema.average["1.running_mean"], record.states[-1]["1.running_mean"])
    assert torch.equal(trainer.model[0].weight, record.states[-1]["0.weight"])


def test_ema_leaves_the_average_at_the_end_and_does_not_change_the_training():
    record, plain = Record(), Record()
    ema = EMA(0.9)
    trainer = make([ema, record])
    trainer.fit(Batches(*rows(), 4), epochs=2, validate=Batches(*rows(), 4))
    make([plain]).fit(Batches(*rows(), 4), epochs=2, validate=Batches(*rows(), 4))
    for a, b in zip(record.states, plain.states, strict=True):
        assert all(torch.equal(a[k], b[k]) for k in a)
    assert torch.equal(trainer.model[0].weight, ema.average["0.weight"])
    assert not torch.equal(trainer.model[0].weight, record.states[-1]["0.weight"])


def test_early_stopping_restores_the_averaged_weights_that_were_best():
    script, ema = Script([2, 1, 3, 3, 3]), EMA(0.9)
    script.order = -5  # sees the weights that the validation sees
    trainer = make([script, ema, EarlyStopping(patience=1)])
    trainer.fit(Batches(*rows(), 4), epochs=5, validate=Batches(*rows(), 4))
    assert torch.equal(trainer.model[0].weight, script.weights[1])


def test_jsonl_log_has_a_line_for_each_chosen_step_and_each_epoch(tmp_path):
    path = tmp_path / "new" / "log.jsonl"
    trainer = make([JSONLLog(path, every=2)])
    trainer.fit(Batches(*rows(), 4), epochs=2, validate=Batches(*rows(), 4))
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [(r["event"], r["step"]) for r in lines] == [
        ("step", 2),
        ("epoch", 3),
        ("step", 4),
        ("step", 6),
        ("epoch", 6),
    ]
    assert lines[-1]["results"] == trainer.results
    assert lines[-2]["loss"] == float(trainer.loss)
    assert lines[0]["lr"] == 0.1
    assert all(r["seconds"] >= 0 for r in lines)


def test_jsonl_log_writes_json_even_for_nan(tmp_path):
    trainer = make([JSONLLog(tmp_path / "log.jsonl")], lr=math.nan)
    trainer.fit(Batches(*rows(), 4), epochs=1)
    records = [
        json.loads(line, parse_constant=pytest.fail)
        for line in (tmp_path / "log.jsonl").read_text().splitlines()
    ]
    assert records[2]["loss"] == "nan"


def test_jsonl_log_keeps_an_earlier_runs_file(tmp_path):
    path = tmp_path / "log.jsonl"
    path.write_text("earlier\n")
    make([JSONLLog(path)]).fit(Batches(*rows(), 4), epochs=1)
    assert (tmp_path / "log.jsonl.old").read_text() == "earlier\n"
    assert "earlier" not in path.read_text()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_tensorboard_log_can_be_read_back(tmp_path):
    reading = pytest.importorskip(
        "tensorboard.backend.event_processing.event_accumulator", reason="tensorboard is not installed"
    )
    trainer = make([TensorBoardLog(tmp_path, every=1)])
    trainer.fit(Batches(*rows(), 4), epochs=2, validate=Batches(*rows(), 4))
    events = reading.EventAccumulator(str(tmp_path)).Reload()
    assert [e.step for e in events.Scalars("train/loss")] == [1, 2, 3, 4, 5, 6]
    assert events.Scalars("train/loss")[-1].value == pytest.approx(float(trainer.loss), rel=1e-6)
    assert [e.step for e in events.Scalars("validation/loss")] == [3, 6]
    assert {"train/lr", "train/grad_norm"} <= set(events.Tags()["scalars"])


def test_tensorboard_is_asked_for_in_one_sentence_when_it_is_missing(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(
        ImportError, match=r"TensorBoardLog: tensorboard must be installed \(pip install tensorboard\)"
    ):
        make([TensorBoardLog(tmp_path)]).fit(Batches(*rows(), 4), epochs=1)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: EarlyStopping(patience=-1), r"EarlyStopping: patience must be an integer >= 0, got -1"),
        (lambda: EarlyStopping(min_delta=-0.1), r"EarlyStopping: min_delta must be >= 0, got -0.1"),
        (lambda: EMA(1.0), r"EMA: decay must be in \[0, 1\), got 1.0"),
        (lambda: JSONLLog("x", every=0), r"JSONLLog: every must be >= 1, got 0"),
    ],
)
def test_bad_arguments_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
