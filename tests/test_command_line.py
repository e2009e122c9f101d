"""How a command ends: one line and an exit code, whatever a library makes of it."""

import os
import signal
import subprocess
import sys

import pytest

from common import command_line


def test_ctrl_c_that_a_library_turns_into_another_error_is_still_ctrl_c():
    """Paddle does, in the midst of an export."""
    before = signal.getsignal(signal.SIGINT)

    def main():
        try:
            os.kill(os.getpid(), signal.SIGINT)
        except KeyboardInterrupt:
            raise SystemError("returned a result with an exception set") from None

    with pytest.raises(SystemExit) as caught:
        command_line.run(main)
    assert caught.value.code == 130
    assert signal.getsignal(signal.SIGINT) == before


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
