import csv

import pytest
from nbgrader.plugins import CsvExportPlugin
from traitlets import TraitError
from traitlets.config import Config

from autograder.export import marks_with_manual
from autograder.late import DAY, LatePolicy
from autograder.nbgrader_course import open_gradebook

from .test_nbgrader import SOFTPLUS, course, dump, record_all, released, submit, toy_grader  # noqa: F401


@pytest.mark.parametrize(
    ("seconds", "penalty"),
    [
        (-5, None),
        (0, None),
        (1800, None),
        (1801, 2),
        (1800 + DAY, 2),
        (1801 + DAY, 4),
        (1801 + 2 * DAY, 5),
        (100 * DAY, 5),
    ],
)
def test_grace_then_a_share_for_each_day_begun_up_to_the_cap(seconds, penalty):
    policy = LatePolicy(grace_minutes=30, percent_per_day=20, cap_percent=50)
    assert policy.late_submission_penalty("ann", 10.0, seconds) == penalty


def test_a_score_of_zero_stays_zero():
    assert LatePolicy().late_submission_penalty("ann", 0.0, DAY) == 0
    assert LatePolicy().late_submission_penalty("ann", -1.0, DAY) == 0


@pytest.mark.parametrize("setting", [{"percent_per_day": 101}, {"cap_percent": -1}, {"grace_minutes": -1}])
def test_settings_out_of_range_are_refused(setting):
    with pytest.raises(TraitError):
        LatePolicy(config=Config(LatePolicy=setting))


def test_every_export_takes_the_penalty_off_and_marks_by_hand_are_spared(course, toy_grader, tmp_path):  # noqa: F811
    with (course / "nbgrader_config.py").open("a") as f:
        f.write("c.AssignLatePenalties.plugin_class = 'autograder.late.LatePolicy'\n")
        f.write("c.LatePolicy.percent_per_day = 10\nc.LatePolicy.cap_percent = 50\n")
    with open_gradebook(course) as gradebook:
        gradebook.update_or_create_assignment("toy", duedate="2020-01-01 00:00:00 UTC")
    submit(course, "ann", softplus=SOFTPLUS + "  # right", explain_overflow="So.")
    record_all(course, toy_grader)
    assert dump(course)["ann"]["penalty"] == 1.5  # half of 3
    with open_gradebook(course) as gradebook:
        gradebook.find_grade("explain_overflow", "toy", "toy", "ann").manual_score = 4.0
        gradebook.find_comment("explain_overflow", "toy", "toy", "ann").manual_comment = "Well said."
        gradebook.db.commit()
    record_all(course, toy_grader)
    assert dump(course)["ann"]["penalty"] == 3.5  # half of 3 + 4
    marks = {"ann": {"toy": {"score": 3.0, "max_score": 10.0, "exercises": {}}}}
    assert marks_with_manual(marks, course)["ann"]["toy"]["score"] == 3.5
    with open_gradebook(course) as gradebook:  # nbgrader's own export
        CsvExportPlugin(to=str(tmp_path / "grades.csv")).export(gradebook)
    (row,) = csv.DictReader((tmp_path / "grades.csv").open())
    assert (row["student_id"], row["raw_score"], row["late_submission_penalty"], row["score"]) == (
        *("ann", "7.0"),
        *("3.5", "3.5"),
    )
    with open_gradebook(course) as gradebook:
        assert gradebook.find_grade("explain_overflow", "toy", "toy", "ann").manual_score == 4.0
        assert gradebook.find_comment("explain_overflow", "toy", "toy", "ann").manual_comment == "Well said."


@pytest.mark.parametrize("before", [1.0, 9.0])
def test_changed_points_give_right_totals_and_spare_what_a_person_entered(course, toy_grader, before):  # noqa: F811
    submit(course, "ann", softplus=SOFTPLUS + "  # right", explain_overflow="So.")
    submit(course, "bob")
    record_all(course, toy_grader)
    with open_gradebook(
        course
    ) as gradebook:  # what the gradebook has is what was released, the tests changed since
        gradebook.update_or_create_grade_cell("softplus", "toy", "toy", max_score=before, cell_type="code")
        mark = gradebook.find_grade("softplus", "toy", "toy", "ann")
        mark.manual_score, mark.extra_credit = 2.5, 1.0
        gradebook.find_comment("softplus-answer", "toy", "toy", "ann").manual_comment = "Elegant."
        gradebook.db.commit()
    record_all(course, toy_grader)
    rows = dump(course)
    assert rows["ann"]["score"] == (3.5, 10.0)
    assert rows["bob"]["score"] == (0.0, 10.0)
    with open_gradebook(course) as gradebook:
        mark = gradebook.find_grade("softplus", "toy", "toy", "ann")
        assert (mark.auto_score, mark.manual_score, mark.extra_credit, mark.max_score) == (3.0, 2.5, 1.0, 3.0)
        assert gradebook.find_comment("softplus-answer", "toy", "toy", "ann").manual_comment == "Elegant."
        assert gradebook.find_assignment("toy").max_score == 10.0
