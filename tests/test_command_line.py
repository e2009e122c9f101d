"""How a command ends: one line and an exit code, whatever a library makes of it."""

import signal
import subprocess
import sys

import pytest

from common import command_line


@pytest.mark.parametrize(
    "error", [MemoryError(), RuntimeError("(PreconditionNotMet) libmklml_intel.so: Cannot allocate memory")]
)
def test_want_of_memory_is_one_line(capsys, error):
    def main():
        raise error

    with pytest.raises(SystemExit) as caught:
        command_line.run(main)
    assert caught.value.code == 2
    assert capsys.readouterr().err.startswith("error: not enough memory; a smaller batch_size")


@pytest.mark.parametrize("moment", ["paddle", "paddle.vision", "json.tool"])
def test_sigterm_while_paddle_is_imported_and_afterwards_prints_nothing(moment):
    code = f"""
import os, signal, sys
class Sender:
    def find_spec(name, *_):
        if name == {moment!r}:
            os.kill(os.getpid(), signal.SIGTERM)
sys.meta_path.insert(0, Sender)
import common.startup, json.tool
print("still there")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (-signal.SIGTERM, "", "")


COMMANDS = [
    *("train.py", "test.py", "infer.py", "export.py", "scripts/convert_weights.py", "dataset/demo/make_demo.py"),
    *(f"dataset/kinetics/{name}.py" for name in ("make_lists", "transcode", "check_videos", "video2pkl")),
]


@pytest.mark.parametrize(("command", "moment"), [*((command, "") for command in COMMANDS), ("train.py", "config")])
def test_ctrl_c_while_a_command_is_imported_ends_it_at_once(command, moment):
    code = f"""
import os, runpy, signal, sys
class Sender:
    def find_spec(name, *_):
        if name == {moment!r} or name in ("numpy", "tqdm", "paddle", "av", "PIL") and not {moment!r}:
            os.kill(os.getpid(), signal.SIGINT)
signal.signal(signal.SIGINT, signal.default_int_handler)
sys.meta_path.insert(0, Sender)
sys.argv[1:] = ["--help"]
runpy.run_path({command!r}, run_name="__main__")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=command_line.PROJECT)
    assert (done.returncode, done.stdout, done.stderr) == (-signal.SIGINT, "", "")
