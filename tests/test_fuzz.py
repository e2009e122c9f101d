"""A smoke of the fuzzer (tests/fuzz/run.py): a few damaged files for each parser of user files."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
RUN = [sys.executable, str(ROOT / "tests" / "fuzz" / "run.py")]


def test_damaged_files_are_refused_with_one_line(tmp_path):
    command = [*RUN, "--runs=300", "--seed=15", f"--save_dir={tmp_path / 'findings'}"]
    done = subprocess.run(command, capture_output=True, text=True)
    reasons = "\n".join(path.read_text() for path in sorted(tmp_path.glob("findings/*.txt"))[:3])
    assert done.returncode == 0, done.stdout + done.stderr + reasons


BROKEN = """
import os, runpy, signal, sys, time
sys.path[:0] = [{root!r}, {tests!r}]
from fuzz import run, targets

def parse(folder, content):
    if content == b"crash":
        os.kill(os.getpid(), signal.SIGSEGV)
    if content == b"hang":
        while True:
            pass
    if content == b"memory":
        bytearray(1 << 33)
    if content == b"traceback":
        {{}}["a"]
    int(content)

run.CPU_SEC = 1
run.mutate = lambda content, *args: content
seeds = [b"crash", b"hang", b"memory", b"traceback", b"library", b"1"]
targets.TARGETS["broken"] = targets.Target(parse, lambda: seeds)
sys.exit(run.main(["broken", "--runs=40", "--save_dir", sys.argv[1]]))
"""


def test_the_fuzzer_finds_what_is_broken(tmp_path):
    code = BROKEN.format(root=str(ROOT), tests=str(ROOT / "tests"))
    done = subprocess.run([sys.executable, "-c", code, tmp_path], capture_output=True, text=True, timeout=600)
    assert done.returncode == 1, done.stderr
    reasons = {path.with_suffix(".bin").read_bytes(): path.read_text() for path in tmp_path.glob("*.txt")}
    expected = {
        b"crash": "ended with -11", b"hang": "over 1 s of processor time", b"memory": "MemoryError",
        b"traceback": "KeyError", b"library": "a library raised it",
    }  # fmt: skip
    assert reasons.keys() == expected.keys()
    assert all(part in reasons[content] for content, part in expected.items())
