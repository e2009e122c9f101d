"""What becomes of a log that nobody can read any more."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SCRIPT = """
import logging, os, signal, sys
from common import command_line, console
from distributed.signals import StopRequest

def main():
    console.start_logging()
    with StopRequest() as stop, console.progress(range(3), 3, "steps") as steps:
        logging.info("first")
        sys.stdin.readline()
        os.kill(os.getpid(), signal.SIGINT)
        for step in steps:
            logging.info("step %d", step)
    logging.info("saved")
    sys.exit(128 + stop.signal_number)

command_line.run(main)
"""


def ended(stdout: object, stderr: object, stop_reading) -> subprocess.Popen:
    """The script, which loses the reader of its output after its first line."""
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT], cwd=ROOT, stdin=subprocess.PIPE, stdout=stdout, stderr=stderr
    )
    stop_reading(process)
    process.stdin.write(b"go on\n")
    process.stdin.close()
    process.wait(100)
    return process


def close_stdout(process: subprocess.Popen) -> None:
    assert process.stdout.readline().endswith(b" first\n")
    process.stdout.close()


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_log_without_a_reader_goes_on_on_stderr_and_changes_nothing(unbuffered, monkeypatch):
    monkeypatch.setenv("PYTHONUNBUFFERED", unbuffered)
    process = ended(subprocess.PIPE, subprocess.PIPE, close_stdout)
    lines = process.stderr.read().decode().splitlines()
    process.stderr.close()
    assert process.returncode == 130
    assert lines[0].startswith("stopping: this step ends, then a checkpoint is saved")
    assert lines[1] == "stdout cannot be written any more (Broken pipe): the log goes on here"
    assert [line.split(" ", 1)[1] for line in lines[2:]] == ["step 0", "step 1", "step 2", "saved"]


def test_a_run_ends_as_it_should_when_nobody_reads_stderr_either():
    process = ended(subprocess.PIPE, subprocess.STDOUT, close_stdout)
    assert process.returncode == 130


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_a_log_on_a_full_disk_goes_on_on_stderr():
    with open("/dev/full", "wb") as full:
        process = ended(full, subprocess.PIPE, lambda process: None)
    lines = process.stderr.read().decode().splitlines()
    process.stderr.close()
    assert process.returncode == 130
    assert lines[0] == "stdout cannot be written any more (No space left on device): the log goes on here"

    assert lines[1].endswith(" first") and lines[2].startswith("stopping: ") and lines[-1].endswith(" saved")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_what_a_tool_says_goes_on_on_stderr_in_one_line_each():
    code = "from common.command_line import run\nfrom common.console import say\n"
    code += "run(lambda: [say('first'), say('a file\\n\\x1b[2Jof two lines')])"
    with open("/dev/full", "wb") as full:
        process = subprocess.run([sys.executable, "-c", code], cwd=ROOT, stdout=full, stderr=subprocess.PIPE)
    assert process.returncode == 0
    assert process.stderr.decode().splitlines() == [
        "stdout cannot be written any more (No space left on device): the log goes on here",
        "first",
        r"a file\n\x1b[2Jof two lines",
    ]


@pytest.mark.parametrize("flag, exit_code", [("--help", 0), ("--wrong", 2), ("--config=nowhere.txt", 2)])
def test_an_exit_code_does_not_depend_on_a_reader(flag, exit_code, monkeypatch):
    monkeypatch.setenv("PYTHONUNBUFFERED", "")
    code = "from common.command_line import config_parser, run\nfrom config import load_config\n"
    code += "run(lambda: load_config(config_parser('a verb').parse_args().config))"
    process = subprocess.Popen(
        [sys.executable, "-c", code, flag], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    process.stdout.close()
    assert process.wait(100) == exit_code


def test_a_signal_is_survived_without_any_output():
    code = "import os, signal\nfrom distributed.signals import StopRequest\nos.close(1)\nos.close(2)\n"
    code += "with StopRequest() as stop:\n    os.kill(os.getpid(), signal.SIGTERM)\n    os._exit(stop.signal_number)\n"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT)
    assert done.returncode == signal.SIGTERM


def test_what_nobody_foresaw_is_in_the_log_with_its_place():
    code = "import logging\nfrom common import console\nconsole.start_logging()\n"
    code += "try:\n    raise LookupError('a defect')\nexcept LookupError:\n    logging.exception('it failed')"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    first, *traceback, last = done.stdout.splitlines()
    assert first.endswith("error: it failed") and traceback[0].startswith("Traceback")
    assert last == "LookupError: a defect"
