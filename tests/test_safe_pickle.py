"""Pickles of strangers: plain data comes back as it was, and nothing that a file asks for hurts."""

import collections
import os
import pickle
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from common import pickle_machine
from common.pickle_machine import StandIn
from common.safe_pickle import load_pickle

ROOT = Path(__file__).resolve().parent.parent
PROTOCOLS = range(pickle.HIGHEST_PROTOCOL + 1)
TYPES = ("?", "i1", "<i2", ">i4", "<i8", "u1", "<u2", "<u4", "<u8", "<f2", "<f4", ">f8", "<c8", "<c16")


def save(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_plain_data_and_arrays_come_back(tmp_path, protocol):
    data = {
        "array": np.arange(6, dtype=np.float32).reshape(2, 3),
        "scalar": np.float64(1.5),
        "plain": [1, -7, 1 << 70, "text ü\n", b"bytes\xff", None, (2.5, True, False), (1, 2, 3, 4), ()],
        "ordered": collections.OrderedDict(a=1),
        3: {"nested": [[[]]]},
    }
    path = save(tmp_path / "data", pickle.dumps(data, protocol=protocol))
    loaded = load_pickle(path)
    assert np.array_equal(loaded.pop("array"), data.pop("array"))
    assert loaded == data and type(loaded["ordered"]) is collections.OrderedDict


@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
def test_arrays_of_every_type_shape_and_order_come_back(tmp_path, protocol):
    arrays = [np.arange(12).reshape(2, 2, 3).astype(dtype) for dtype in TYPES]
    arrays += [np.asfortranarray(arrays[-1]), arrays[0].transpose(1, 2, 0), np.zeros((0, 3)), np.array(2.5)]
    arrays += [arrays[0]]  # the same one again
    loaded = load_pickle(save(tmp_path / "data", pickle.dumps(arrays, protocol=protocol)))
    for theirs, ours in zip(loaded, arrays, strict=True):
        assert theirs.dtype == ours.dtype and theirs.shape == ours.shape and np.array_equal(theirs, ours)
    assert loaded[0] is loaded[-1]


def test_sets_come_back(tmp_path):
    data = [{1, "a"}, frozenset({b"b", None})]
    assert load_pickle(save(tmp_path / "data", pickle.dumps(data, protocol=4))) == data


def test_an_array_of_python_2_comes_back(tmp_path):
    """There a string is bytes, and so are the words that describe the array."""
    numbers = np.arange(3, dtype="<f4")
    content = (
        b"cnumpy.core.multiarray\n_reconstruct\np0\n(cnumpy\nndarray\np1\n(I0\ntS'b'\np2\ntRp3\n(I1\n(I3\nt"
        b"cnumpy\ndtype\np4\n(S'f4'\nI0\nI1\ntRp5\n(I3\nS'<'\nNNNI-1\nI-1\nI0\ntbI00\n"
        b"T" + struct.pack("<I", numbers.nbytes) + numbers.tobytes() + b"tb."
    )
    assert np.array_equal(load_pickle(save(tmp_path / "data", content), encoding="bytes"), numbers)


class Call:
    """An object whose pickle calls a function, and gives what comes of it a state."""

    def __init__(self, *call):
        self.call = call

    def __reduce__(self):
        return self.call


def test_a_pickle_that_would_run_code_is_refused_and_does_not_run(tmp_path):
    path = save(tmp_path / "attack", pickle.dumps([1, Call(os.mkdir, (str(tmp_path / "made"),))]))
    with pytest.raises(ValueError, match=r"attack: .*mkdir"):
        load_pickle(path)
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize("content", [b"", b"no pickle", b"\x80\x04\x95", pickle.dumps({"a": np.ones(100)})[:-30]])
def test_damaged_pickles_are_refused_by_name(tmp_path, content):
    (tmp_path / "damaged").write_bytes(content)
    with pytest.raises(ValueError, match="damaged: cannot be read"):
        load_pickle(tmp_path / "damaged")


RECONSTRUCT = np.empty(0).__reduce__()[0]
SCALAR = np.float32(0).__reduce__()[0]


def hidden_objects() -> bytes:
    """An array of Python objects whose type says that it has none: numpy would follow the numbers as addresses."""
    kind = Call(np.dtype, ("V8", False, True), (3, "|", None, ("a",), {"a": (np.dtype("O"), 0)}, 8, 1, 0))
    return pickle.dumps(Call(RECONSTRUCT, (np.ndarray, (0,), b"b"), (1, (1,), kind, False, b"\1" * 8)), protocol=2)


def text_copied_often(num_bytes: int, times: int) -> bytes:
    call = b"c_codecs\nencode\nq\x01h\x00X\x06\0\0\0latin1\x86R"
    return b"\x80\x02]X" + struct.pack("<I", num_bytes) + b"x" * num_bytes + b"q\x000(" + call * times + b"e."


def keys_of_one_hash(count: int) -> bytes:
    keys = (number * sys.hash_info.modulus for number in range(1, count + 1))
    return b"\x80\x02}(" + b"".join(b"\x8a\x0b" + key.to_bytes(11, "little") + b"N" for key in keys) + b"u."


HOSTILE = {
    "hidden objects": hidden_objects(),
    "no objects, but of their size": pickle.dumps(Call(SCALAR, (np.dtype("O"), b"\1" * 8)), protocol=2),
    "a key as deep as a stack": b"\x80\x02})" + b"\x85" * 200_000 + b"Ns.",
    "a key of 2^40 parts": b"\x80\x02)q\x000" + b"h\x00h\x00\x86q\x000" * 40 + b"}h\x00Ns.",
    "keys of one hash": keys_of_one_hash(60_000),
    "a large memo index": b"\x80\x02Nr\xff\xff\xff\x7f]h\x01.",
    "a larger memo index": b"Np999999999999999999\ng1\n.",
    "marks": b"(" * 1_000_000 + b".",
    "a text copied often": text_copied_often(1 << 20, 20_000),
    "bytes that are not there": b"\x80\x04\x8e" + struct.pack("<Q", 1 << 62) + b"x.",
    "a long number": b"\x80\x02\x8b" + struct.pack("<I", 1 << 20) + b"\x7f" * (1 << 20) + b".",
    "a long line of digits": b"I" + b"7" * 1_000_000 + b"\n.",
    "an array of a shape that is no numbers": pickle.dumps(Call(RECONSTRUCT, (), (1, [[]], np.dtype("f4"), 0, b"")), 2),
    "an array larger than its bytes": pickle.dumps(
        Call(RECONSTRUCT, (), (1, (1 << 40, 1 << 40), np.dtype("f4"), False, b"1234")), 2
    ),
    "axes that are no axes": pickle.dumps(
        Call(np.empty(1).__reduce_ex__(5)[0], (b"1234", np.dtype("f4"), (1,), "K", (0, 0)))
    ),
    "a state for a list": b"\x80\x02]}b.",
    "a call of a text": b"\x80\x02X\x01\0\0\0a)R.",
    "an object": b"(cos\nsystem\no.",
}
LIMITED = """
import resource, sys
from common.safe_pickle import load_pickle
resource.setrlimit(resource.RLIMIT_AS, (4 << 30,) * 2)
begun_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    load_pickle(sys.argv[1])
except ValueError as error:
    print(error)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - begun_kb)
"""


@pytest.mark.parametrize("what", HOSTILE)
def test_hostile_pickles_are_refused_at_once_and_in_little_memory(what, tmp_path):
    """In a process of its own: a mistake in here crashes it, or never ends."""
    path = save(tmp_path / "hostile", HOSTILE[what])
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, path], cwd=ROOT, capture_output=True, text=True, timeout=120, env=one_thread()
    )
    assert done.returncode == 0, done.stderr
    line, peak_kb = done.stdout.splitlines()
    assert line.startswith(f"{path}: cannot be read as a pickle of plain data: ") and len(line) < 500
    assert int(peak_kb) < 100_000


def one_thread() -> dict[str, str]:
    """Threads of numpy's library reserve memory that the limit counts."""
    return {**os.environ, "OPENBLAS_NUM_THREADS": "1"}


def test_steps_without_end_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(pickle_machine, "MAX_STEPS", 1000)
    assert load_pickle(save(tmp_path / "data", b"N0" * 499 + b"N.")) is None
    with pytest.raises(ValueError, match="takes more than 1,000 steps"):
        load_pickle(save(tmp_path / "data", b"N0" * 500 + b"N."))


def test_what_lies_in_itself_is_read(tmp_path):
    loaded = load_pickle(save(tmp_path / "data", b"\x80\x02]q\x00h\x00a."))
    assert loaded[0] is loaded
    loaded = load_pickle(save(tmp_path / "data", b"\x80\x02}q\x00X\x01\0\0\0ah\x00s."))
    assert loaded["a"] is loaded


def test_an_array_that_is_never_filled_is_no_array(tmp_path):
    path = save(tmp_path / "data", pickle.dumps([Call(RECONSTRUCT, (np.ndarray, (0,), b"b"))], protocol=2))
    (loaded,) = load_pickle(path)
    assert type(loaded) is not np.ndarray and isinstance(loaded, StandIn)


def test_reading_ends_when_the_time_is_over(tmp_path):
    class TimeIsOver(Exception):
        pass

    def check() -> None:
        raise TimeIsOver

    with pytest.raises(TimeIsOver):
        load_pickle(save(tmp_path / "data", pickle.dumps(1)), check=check)
