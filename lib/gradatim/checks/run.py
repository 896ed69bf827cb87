"""Find the student's definitions, run the public cases on them, and turn whatever happens into a readable result."""

import difflib
import linecache
import sys
import traceback
from collections.abc import Mapping
from typing import Any

import torch

from gradatim.checks import losses
from gradatim.checks.case import Call, Form, PublicCases, difference
from gradatim.checks.report import CaseResult, CheckResult, shown

#: The public cases by assignment and exercise.
ASSIGNMENTS: dict[str, dict[str, PublicCases]] = {"losses": losses.CASES}

_HERE = __file__.rsplit("run.py", 1)[0]


def exercise_ids() -> list[str]:
    """The ids that `check` knows.

    Returns:
        Them, in the order of the notebooks.
    """
    return [exercise for cases in ASSIGNMENTS.values() for exercise in cases]


def check(exercise: str, namespace: Mapping[str, Any] | None = None) -> CheckResult:
    """Try the public cases of an exercise on the definitions at the place of the call.

    Args:
        exercise: its id, such as "cross_entropy".
        namespace: where the definitions are, by name; by default the notebook or module that calls.

    Returns:
        A result that a notebook shows as a table. Outside a notebook its text is printed, too.

    Raises:
        ValueError: if there is no exercise of this id; the message lists the ids.
    """
    known = {name: cases for by_id in ASSIGNMENTS.values() for name, cases in by_id.items()}
    if exercise not in known:
        near = difflib.get_close_matches(str(exercise), known, n=1)
        hint = f" (did you mean {near[0]!r}?)" if near else ""
        raise ValueError(f"check: exercise must be one of {', '.join(known)}, got {exercise!r}{hint}")
    if namespace is None:
        frame = sys._getframe(1)
        namespace = {**frame.f_globals, **frame.f_locals}
    result = run_cases(exercise, known[exercise], namespace)
    if not _in_notebook():
        print(result)
    return result


def run_checks(assignment: str, namespace: Mapping[str, Any]) -> dict[str, CheckResult]:
    """Run the public cases of every exercise of an assignment. Prints nothing.

    Args:
        assignment: its name, such as "losses".
        namespace: where the definitions are, by name.

    Returns:
        Exercise id -> result.

    Raises:
        ValueError: if there is no such assignment; the message lists them.
    """
    if assignment not in ASSIGNMENTS:
        raise ValueError(
            f"run_checks: assignment must be one of {', '.join(ASSIGNMENTS)}, got {assignment!r}"
        )
    return {
        exercise: run_cases(exercise, cases, namespace) for exercise, cases in ASSIGNMENTS[assignment].items()
    }


def run_cases(exercise: str, public: PublicCases, namespace: Mapping[str, Any]) -> CheckResult:
    """Run the cases of one exercise. Whatever the student's code does, the outcome is a result."""
    missing = [name for name in public.names if name not in namespace]
    if len(missing) == len(public.names):
        what = f"{missing[0]} is not defined" if len(missing) == 1 else f"{_listed(missing)} are not defined"
        note = f"{exercise}: not answered yet, {what}. Fill in the answer cell, run it, then check again."
        return CheckResult(exercise, note=note)
    results: list[CaseResult] = []
    for case in public.cases:
        name = case.function if isinstance(case, Call) else case.name
        if name in missing:
            results.append(CaseResult(_called(case), False, explanation=f"{name} is not defined."))
        elif isinstance(case, Call):
            results.append(_run_call(exercise, case, namespace[name]))
        else:
            results.append(_run_form(case, namespace[name]))
    if all(
        r.explanation in (_unanswered(exercise), *(f"{name} is not defined." for name in missing))
        for r in results
    ):
        note = f"{exercise}: not answered yet. Put your code in place of `raise NotImplementedError(...)`."
        return CheckResult(exercise, note=note)
    return CheckResult(exercise, tuple(results), beyond=public.beyond)


def _unanswered(exercise: str) -> str:
    return f"{exercise}: this part is not answered yet."


def _run_form(case: Form, value: Any) -> CaseResult:
    try:
        fault = case.fault(value)
    except Exception as err:  # an object of the student's that does not behave
        fault = f"It cannot be read: {_one_line(err)}"
    return CaseResult(
        _called(case),
        fault is None,
        case.rule,
        "" if fault is None else shown(value),
        fault or "",
        case.section,
    )


def _run_call(exercise: str, case: Call, function: Any) -> CaseResult:
    args, kwargs = _copied(case.args), _copied(dict(case.kwargs))
    wanted = case.expected
    expected = f"{wanted.__name__} is raised" if isinstance(wanted, type) else shown(wanted)

    def wrong(got: str, explanation: str) -> CaseResult:
        return CaseResult(_called(case), False, expected, got, explanation, case.section)

    if case.gradient_of is not None:
        args[case.gradient_of].requires_grad_()
    try:
        with torch.enable_grad():
            got = function(*args, **kwargs)
    except SystemExit:
        return wrong("exit() was called", "An answer must return, not end the program.")
    except NotImplementedError as err:
        if exercise in str(err) or not str(err):
            return wrong("", _unanswered(exercise))
        return wrong(_one_line(err), _place(err))
    except Exception as err:
        if isinstance(wanted, type) and isinstance(err, wanted):
            return CaseResult(_called(case), True)
        return wrong(_one_line(err), _place(err))
    if isinstance(wanted, type):
        return wrong(shown(got), "This call is to be refused.")
    if changed := _changed(case, args, kwargs):
        return wrong(shown(got), changed)
    if case.gradient_of is not None:
        got, fault = _gradient(got, args[case.gradient_of])
        if fault:
            return wrong("no gradient", fault)
    differs = difference(got, wanted, case.rtol, case.atol)
    if differs is None:
        return CaseResult(_called(case), True)
    return wrong(shown(got), _explained(case, got) or differs[0].upper() + differs[1:] + ".")


def _explained(case: Call, got: Any) -> str:
    """The sentence of the first known mistake that gives this value."""
    for value, sentence in case.known:
        if difference(got, value, case.rtol, case.atol) is None:
            return sentence
    return ""


def _gradient(got: Any, argument: torch.Tensor) -> tuple[Any, str]:
    if not isinstance(got, torch.Tensor) or not got.requires_grad:
        return None, (
            "The result does not depend on this argument as far as autograd can see: "
            "look for detach(), item(), NumPy, torch.no_grad() or a new tensor made from numbers."
        )
    try:
        with torch.enable_grad():
            got.sum().backward()
    except Exception as err:
        return None, f"backward() fails: {_one_line(err)}"
    if argument.grad is None:
        return None, "The result does not depend on this argument."
    return argument.grad, ""


def _changed(case: Call, args: list[Any], kwargs: dict[str, Any]) -> str:
    """A sentence, if the call changed a tensor that it was given."""
    before = [*case.args, *case.kwargs.values()]
    for number, (old, new) in enumerate(zip(before, [*args, *kwargs.values()], strict=True)):
        if isinstance(old, torch.Tensor) and not torch.equal(old, new.detach()):
            return f"The call changes its argument number {number + 1} in place; work on a copy."
    return ""


def _copied(value: Any) -> Any:
    """A deep copy of literal arguments: tensors cloned, tuples as lists at the top so that they can be changed."""
    if isinstance(value, torch.Tensor):
        return value.clone()
    if isinstance(value, dict):
        return {k: _copied(v) for k, v in value.items()}
    if isinstance(value, tuple | list):
        return [_copied(v) for v in value]
    return value


def _called(case: Call | Form) -> str:
    if isinstance(case, Form):
        return case.name
    parts = [shown(a) for a in case.args] + [f"{k}={shown(v)}" for k, v in case.kwargs.items()]
    text = f"{case.function}({', '.join(parts)})"
    return (
        text
        if case.gradient_of is None
        else f"the gradient of {text} with respect to argument {case.gradient_of + 1}"
    )


def _one_line(err: BaseException) -> str:
    try:
        text = " ".join(str(err).split())
    except Exception:  # an error class of the student's
        text = ""
    text = text[:200] + ("..." if len(text) > 200 else "")
    return f"{type(err).__name__}: {text}" if text else type(err).__name__


def _place(err: BaseException) -> str:
    """Where in the student's code an error arose: the innermost line that no package wrote."""
    for frame in reversed(traceback.extract_tb(err.__traceback__)):
        if frame.filename.startswith(_HERE) or "site-packages" in frame.filename:
            continue
        line = (frame.line or linecache.getline(frame.filename, frame.lineno or 0)).strip()
        if line:
            return f"Raised in line {frame.lineno} of the cell, in {frame.name}: {line[:120]}"
    return "Raised by the call itself: do the names and the number of the arguments fit?"


def _listed(names: list[str]) -> str:
    return ", ".join(names[:-1]) + f" and {names[-1]}"


def _in_notebook() -> bool:
    """True where the value of a cell's last line is shown anyway."""
    ipython = sys.modules.get("IPython")
    return ipython is not None and ipython.get_ipython() is not None
