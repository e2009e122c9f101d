"""A short form of the hostile campaign; TSN_LONG=1 sends 5,000 requests, see tests/hostile/run.py."""

import os

from hostile.run import campaign
from hostile.served import model_flags
from hostile.table import KINDS

COUNT = 5000 if "TSN_LONG" in os.environ else 80


def test_hostile_requests_are_answered_as_documented_and_hurt_nobody(tmp_path):
    report = campaign(tmp_path, model_flags(tmp_path), COUNT, seed=1, kinds=list(KINDS.values()))
    print(report.table())
    assert not report.problems, "\n".join(report.problems)
    assert len(report.verdicts) == COUNT and {one.kind for one in report.verdicts} == set(KINDS)
    assert report.honest[200] and set(report.honest) <= {200, 429}
