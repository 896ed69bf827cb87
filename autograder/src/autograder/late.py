"""A late policy for nbgrader: some grace, then a share of the mark for each day begun, up to a cap.

In nbgrader_config.py:

    c.AssignLatePenalties.plugin_class = "autograder.late.LatePolicy"
    c.LatePolicy.grace_minutes = 15
    c.LatePolicy.percent_per_day = 10
    c.LatePolicy.cap_percent = 50

nbgrader keeps the penalty apart from the marks, which formgrader goes on showing; `autograder export` and
`nbgrader export` take it off. A mark given by hand is not touched; recording again computes the penalty from it too.
"""

import math

from nbgrader.plugins import BasePlugin
from traitlets import Float

DAY = 24 * 3600


class LatePolicy(BasePlugin):
    """Used by `autograder grade --record` and `nbgrader autograde` alike; both ask it once for each notebook."""

    grace_minutes = Float(0.0, min=0.0, help="How late a submission may be without penalty.").tag(config=True)
    percent_per_day = Float(10.0, min=0.0, max=100.0, help="Of the score, for each day begun.").tag(
        config=True
    )
    cap_percent = Float(100.0, min=0.0, max=100.0, help="Of the score, at most.").tag(config=True)

    def late_submission_penalty(
        self, student_id: str, score: float, total_seconds_late: float
    ) -> float | None:
        """Points to take off; None within the grace.

        Args:
            score: of the notebook, marks by hand included.
            total_seconds_late: from the due date to the arrival. Days are counted from the end of the grace.
        """
        late = total_seconds_late - 60 * self.grace_minutes
        if late <= 0:
            return None
        share = min(math.ceil(late / DAY) * self.percent_per_day, self.cap_percent) / 100
        return max(score, 0.0) * share
