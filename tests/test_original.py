"""The 2019 format, against real files that the original wrote (tests/reference/variables)."""

import json
import struct

import numpy as np
import pytest

from formula_weights import REFERENCE, formula, original_variables, write_original_folder
from models.weights.original import parse_variable, write_variable

FACTS = json.loads((REFERENCE / "variables.json").read_text())


@pytest.mark.parametrize("name", FACTS)
def test_real_files_read_as_they_should(name):
    array = parse_variable((REFERENCE / "variables" / name).read_bytes())
    facts = FACTS[name]
    assert list(array.shape) == facts["shape"] and str(array.dtype) == facts["dtype"]
    assert array.ravel()[:4].tolist() == facts["first4"]
    assert array.sum(dtype=np.float64) == pytest.approx(facts["sum"], rel=1e-6, abs=1e-6)


@pytest.mark.parametrize("name", [name for name in FACTS if FACTS[name]["dtype"] == "float32"])
def test_what_is_written_equals_real_files_to_the_byte(name, tmp_path):
    content = (REFERENCE / "variables" / name).read_bytes()
    write_variable(tmp_path / name, parse_variable(content))
    assert (tmp_path / name).read_bytes() == content


def test_the_tests_own_writer_agrees(tmp_path):
    arrays = {name: formula(name, shape) for name, shape in list(original_variables().items())[:20]}
    folder = write_original_folder(tmp_path / "folder", arrays)
    for name, array in arrays.items():
        write_variable(tmp_path / name, array)
        assert (tmp_path / name).read_bytes() == (folder / name).read_bytes()


def variable(description: bytes, data: bytes, num_levels: int = 0) -> bytes:
    return struct.pack("<IQIi", 0, num_levels, 0, len(description)) + description + data


def test_other_types_and_packed_dimensions():
    assert parse_variable(variable(b"\x08\x06\x12\x02\x02\x01", np.ones(2).tobytes())).shape == (2, 1)
    half = parse_variable(variable(b"\x08\x04\x10\x01", np.float16(0.5).tobytes()))
    assert half.dtype == np.float16 and half[0] == 0.5
    assert parse_variable(variable(b"\x08\x16\x10\x01", b"\xc0\x3f")).tolist() == [1.5]  # bfloat16


@pytest.mark.parametrize("content, reason", [
    (b"", "does not begin"),
    (b"text, and no variable at all", "does not begin"),
    (variable(b"\x08\x05\x10\x02", b"\0" * 7), "holds 7 bytes of data, but its shape [2] needs 8"),
    (variable(b"\x08\x05\x10\x02", b"\0" * 9), "holds 9 bytes"),
    (variable(b"\x08\x05" + b"\x10\xff\xff\xff\xff\xff\xff\xff\x7f" * 3, b""), "holds 0 bytes"),  # claims 1e56 numbers
    (variable(b"\x08\x63\x10\x02", b"\0" * 8), "unknown data type 99"),
    (variable(b"\x10\x02", b"\0" * 8), "damaged description"),
    (variable(b"\x08\x05\x10\xff", b"\0" * 8), "cut description"),
    (variable(b"\x08\x05\x10" + b"\xff" * 11, b""), "damaged number"),
    (variable(b"\x08\x05\x18\x02", b"\0" * 8), "unknown field"),
    (variable(b"\x08\x05\x10\x02", b"\0" * 8, num_levels=3), "3 LoD levels"),
])  # fmt: skip
def test_damaged_files_are_refused_before_anything_is_allocated(content, reason):
    with pytest.raises(ValueError, match=reason.replace("[", r"\[")):
        parse_variable(content)
