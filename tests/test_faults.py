"""A short form of the fault campaign; scripts/run_faults.sh injects hundreds."""

import subprocess
import sys
from pathlib import Path

CAMPAIGN = Path(__file__).resolve().parent / "faults" / "run.py"


def test_a_few_faults_lose_nothing_hang_nowhere_and_are_explained():
    command = [sys.executable, CAMPAIGN, "--short", "--seed=1"]  # in a process that has not used Paddle yet: it forks
    done = subprocess.run(command, capture_output=True, text=True, timeout=1000)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "11 faults in" in done.stdout and "0 lost, 0 hung, 0 unexplained" in done.stdout
