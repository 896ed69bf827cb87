"""What hidden tests are written with: comparisons whose text leaks nothing, inputs nobody can guess."""

import math
import re

import numpy as np
import pytest
import torch

from autograder.testing import Inputs, WrongAnswer, assert_close, claim, input_seed, recording

X = torch.tensor([1.234567, 2.345678], dtype=torch.float64)

WRONG = {
    "value": (X + 1e-3, X),
    "shape": (X[None], X),
    "broadcastable shape": (X[:1], X),
    "dtype": (X.float(), X),
    "not finite": (X * math.nan, X),
    "infinite": (X / 0, X),
    "no tensor": ([1.234567, 2.345678], X),
    "none": (None, X),
    "number for tensor": (1.234567, X[0]),
    "wrong number": (1.234567, 1.2355),
    "bool for number": (True, 1.0),
    "text for number": ("1.0", 1.0),
    "nan for number": (math.nan, 1.0),
    "length": ([1, 2], [1, 2, 3]),
    "text": ("mae", "mse"),
    "bool": (1, True),
    "keys": ({"a": 1}, {"b": 1}),
    "nested": ({"a": [1, X + 1]}, {"a": [1, X]}),
    "integers": (torch.tensor([1, 2]), torch.tensor([1, 3])),
    "mask": (torch.tensor([True]), torch.tensor([False])),
    "array": (np.array([1.234567]), np.array([1.5])),
}


@pytest.mark.parametrize(("got", "expected"), WRONG.values(), ids=WRONG)
def test_a_wrong_answer_is_refused_without_a_value_in_the_message(got, expected):
    with pytest.raises(WrongAnswer) as caught:
        assert_close(got, expected)
    assert not re.search(r"1\.2|2\.3|1\.5|mse|mae", str(caught.value))


@pytest.mark.parametrize(
    ("got", "expected"),
    [
        (X.clone(), X),
        (X * (1 + 1e-9), X),
        (X.float(), X.float() * (1 + 1e-6)),
        (torch.tensor(2.0), 2.0),
        (np.float64(2), 2.0),
        (2, 2.0),
        ((1, 2), [1, 2]),
        ({"a": X}, {"a": X}),
        ("b", "b"),
        (None, None),
        (torch.tensor([math.inf, math.nan]), torch.tensor([math.inf, math.nan])),
        (X.clone().requires_grad_(), X),
        (np.array([1.0]), np.array([1.0])),
    ],
)
def test_a_right_answer_is_accepted(got, expected):
    assert_close(got, expected)


def test_the_dtype_check_can_be_left_out():
    assert_close(X.float(), X, rtol=1e-4, check_dtype=False)


def test_equal_seeds_give_equal_inputs_and_others_do_not():
    a, b, c = Inputs(7), Inputs(7), Inputs(8)
    draws = [(i.normal(3, 2), i.integers(0, 9, 4), i.uniform(-1, 1, 2), i.permutation(5)) for i in (a, b, c)]
    assert all(torch.equal(x, y) for x, y in zip(draws[0], draws[1], strict=True))
    assert not torch.equal(draws[0][0], draws[2][0])


def test_inputs_leave_the_global_generator_alone():
    before = torch.get_rng_state()
    Inputs(1).normal(5)
    assert torch.equal(before, torch.get_rng_state())


def test_the_seed_depends_on_secret_submission_and_test():
    seeds = {
        input_seed(secret, digest, test)
        for secret in (b"a", b"b")
        for digest in ("x", "y")
        for test in ("t", "u")
    }
    assert len(seeds) == 8


def test_recording_keeps_copies_of_what_is_compared():
    x, seen = X.clone(), []
    with recording(seen):
        assert_close(x, X)
        x += 1
    assert_close(X, X)
    assert len(seen) == 1
    assert torch.equal(seen[0], X)


@pytest.mark.parametrize("points", [0, -1, math.nan, math.inf, "2"])
def test_a_claim_must_be_worth_something(points):
    with pytest.raises(ValueError, match="claim: points must be a finite number > 0"):
        claim(points=points, hint="h")


def test_a_claim_needs_words():
    with pytest.raises(ValueError, match="hint must be a sentence"):
        claim(points=1, hint=" ")
    with pytest.raises(ValueError, match="needs a docstring"):
        claim(points=1, hint="h")(lambda student: None)


def test_a_common_seed_is_the_own_one_unless_another_is_given():
    assert Inputs(7).common == 7
    assert (Inputs(7, 3).seed, Inputs(7, 3).common) == (7, 3)


def told(got, expected):
    with pytest.raises(WrongAnswer) as caught:
        assert_close(got, expected)
    return str(caught.value)


def test_a_shape_is_told_only_where_its_sizes_are_the_tests_own():
    with recording([]):
        Inputs(1).normal(6, 4)
        expected = torch.zeros(6)
        assert "has shape (6, 1), it must have shape (6,)" in told(torch.zeros(6, 1), expected)
        assert "has shape (4,)" in told(torch.zeros(4), expected)
        assert "has another shape with as many axes" in told(torch.zeros(47), expected)
        assert "has another shape with more axes" in told(torch.zeros(6, 47), expected)
        assert "has another shape with more axes" in told(torch.zeros(6, 1, 1, 1), expected)
    with recording([]):  # another test, with other sizes
        assert "has another shape" in told(torch.zeros(4), expected)


def test_no_name_and_no_length_of_the_answers_making_is_told():
    named = type("C4711", (), {})()
    assert told(named, torch.zeros(2)).endswith("got an object of another type")
    assert told(type("C4711", (float,), {})(1.0), "a").endswith("got an object of another type")
    assert told([0] * 4711, [1, 2]).endswith("must be a sequence of 2 values, got more")
    assert told((), [1, 2]).endswith("must be a sequence of 2 values, got fewer")
    assert told("4711", 1.0).endswith("must be a number, got a value of type str")


def test_a_view_that_torch_negates_lazily_is_compared_by_value():
    negated = (
        torch.complex(torch.zeros(3, dtype=torch.float64), torch.ones(3, dtype=torch.float64)).conj().imag
    )
    assert negated.is_neg()
    assert_close(negated, -torch.ones(3, dtype=torch.float64))
    assert_close(-torch.ones(3, dtype=torch.float64), negated)


def test_complex_tensors_are_compared_in_both_parts():
    expected = torch.complex(torch.ones(3, dtype=torch.float64), torch.full((3,), 2.0, dtype=torch.float64))
    assert_close(expected.conj().conj() + 1e-12j, expected)
    assert_close(expected.conj(), expected.resolve_conj().conj())
    assert told(expected.conj(), expected).endswith("a wrong value")
    assert "finite" in told(expected * complex(float("nan"), 1), expected)
    with pytest.raises(WrongAnswer, match="a wrong value"):  # a real part alone is not the number
        assert_close(expected.real, expected, check_dtype=False)


def test_a_fraction_is_no_whole_number():
    counts = torch.tensor([1, 2])
    assert_close(torch.tensor([1.0, 2.0]), counts, check_dtype=False)
    with pytest.raises(WrongAnswer):
        assert_close(torch.tensor([1.9, 2.0]), counts, check_dtype=False)
