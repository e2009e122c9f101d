"""PyTorch's files: tests/reference/pytorch holds two that PyTorch 2.13.0 wrote, of the same state dict."""

import pickle
import subprocess
import sys
import types
import zipfile

import numpy as np
import pytest

from formula_weights import REFERENCE
from models.weights import formats
from models.weights.formats import read_arrays
from models.weights.pytorch import read_legacy
from torch_files import HistoryBuffer, save

ROOT = REFERENCE.parent.parent
FOLDER = REFERENCE / "pytorch"
BASE = np.arange(24, dtype=np.float32)
EXPECTED = {
    "float32": BASE.reshape(2, 3, 4),
    "transposed": BASE.reshape(4, 6).T,
    "view": BASE[5:11],
    "channels_last": np.arange(36, dtype=np.float32).reshape(1, 4, 3, 3),
    "float64": np.arange(3) / 3,
    "float16": np.arange(5, dtype=np.float16) / 4,
    "bfloat16": np.arange(5, dtype=np.float32) / 4,
    "parameter": np.full((2, 2), 1.5, np.float32),
    "scalar": np.array(7, np.float32),
    "empty": np.zeros((0, 3), np.float32),
    "int64": np.array([1, -2]),
}


@pytest.mark.parametrize("layout", ["zip", "legacy"])
def test_files_that_pytorch_wrote(layout):
    arrays = read_arrays(FOLDER / f"{layout}.pth")
    assert list(arrays) == list(EXPECTED)
    for name, expected in EXPECTED.items():
        assert arrays[name].dtype == expected.dtype and np.array_equal(arrays[name], expected), name


@pytest.mark.parametrize("legacy", [False, True])
def test_files_that_the_tests_write_read_the_same(tmp_path, legacy):
    arrays = {"a": BASE.reshape(4, 6), "b": np.array(3, np.int64)}
    read = read_arrays(save(tmp_path / "x.pth", {"state_dict": arrays}, legacy))
    assert all(np.array_equal(read[name], arrays[name]) for name in arrays)


@pytest.mark.parametrize("legacy", [False, True])
def test_the_training_log_of_mmengine_is_read_over(tmp_path, legacy):
    content = {"message_hub": {"log_scalars": {"loss": HistoryBuffer()}}, "state_dict": {"a": BASE}}
    assert list(read_arrays(save(tmp_path / "x.pth", content, legacy))) == ["a"]


def test_getattr_in_a_pickle_gets_nothing(tmp_path):
    """MMEngine's logs name it; the stand-in must not be the real one."""

    class Reach:
        def __reduce__(self):
            return getattr, ("text", "upper")

    path = save(tmp_path / "x.pth", {"state_dict": {"a": BASE}, "reached": Reach()}, legacy=True)
    content, _ = read_legacy(path.read_bytes(), path)
    assert content["reached"] is None


@pytest.mark.parametrize("legacy", [False, True])
def test_a_whole_model_is_refused_with_the_fix(tmp_path, legacy, monkeypatch):
    module = types.ModuleType("somewhere")
    module.Model = type("Model", (), {"__module__": "somewhere"})
    monkeypatch.setitem(sys.modules, "somewhere", module)
    with pytest.raises(ValueError, match=r"x.pth: .*somewhere.Model.*torch.save\(model.state_dict\(\)"):
        read_arrays(save(tmp_path / "x.pth", {"model": module.Model()}, legacy))


@pytest.mark.parametrize("change", [
    {"offset": 1}, {"shape": (25,)}, {"shape": (2**40,), "strides": (0,)}, {"shape": (-1,)}, {"strides": (2,)},
    {"shape": ("a",)}, {"num_elements": 23}, {"num_elements": 2**60}, {"shape": (10**6,), "strides": (0,)},
    {"shape": (True, 24), "strides": (24, 1)}, {"shape": (0, 2**39, 2**39), "strides": (1, 1, 1)},
    {"shape": (2**62,)}, {"shape": (2**400,)}, {"offset": True}, {"offset": 2**80},
    {"shape": (1,) * 65, "strides": (1,) * 65},
])  # fmt: skip
@pytest.mark.parametrize("legacy", [False, True])
def test_a_tensor_never_reaches_beyond_its_storage(tmp_path, legacy, change):
    with pytest.raises(ValueError, match="x.pth: "):
        read_arrays(save(tmp_path / "x.pth", {"a": BASE}, legacy, change))


def test_many_tensors_of_one_storage_are_refused_before_they_are_read(tmp_path, monkeypatch):
    monkeypatch.setattr(formats, "MAX_UNPACKED_BYTES", 1000)
    shared = BASE.copy()
    read_arrays(save(tmp_path / "few.pth", {str(number): shared for number in range(10)}))
    with pytest.raises(ValueError, match="many.pth: claims to unpack to 1056 bytes, which no weights need"):
        read_arrays(save(tmp_path / "many.pth", {str(number): shared for number in range(11)}))


def test_what_a_damaged_legacy_file_begins_with_is_not_printed(tmp_path):
    """It may have no end: here each tuple holds the one before twice."""
    endless = b"\x80\x02)q\x000" + b"h\x00h\x00\x86q\x000" * 40 + b"h\x00."
    content = pickle.dumps(0x1950A86A20F9469CFC6C, 2) + endless + pickle.dumps({}, 2)
    (tmp_path / "x.pth").write_bytes(content)
    code = (
        "import sys; from models.weights.pytorch import read_legacy; read_legacy(open(sys.argv[1], 'rb').read(), 'x')"
    )
    done = subprocess.run([sys.executable, "-c", code, tmp_path / "x.pth"], cwd=ROOT, capture_output=True, timeout=120)
    assert b"x: unknown kind of PyTorch file (version unknown)" in done.stderr


def test_big_endian_files_are_refused(tmp_path):
    save(tmp_path / "x.pth", {"a": BASE})
    with zipfile.ZipFile(tmp_path / "x.pth", "a") as archive:
        archive.writestr("archive/byteorder", "big")
    with pytest.raises(ValueError, match="big-endian"):
        read_arrays(tmp_path / "x.pth")


def test_a_legacy_file_of_another_version_is_refused(tmp_path):
    data = save(tmp_path / "x.pth", {"a": BASE}, legacy=True).read_bytes()
    (tmp_path / "x.pth").write_bytes(data.replace(pickle.dumps(1001, 2), pickle.dumps(1002, 2)))
    with pytest.raises(ValueError, match="x.pth: unknown kind of PyTorch file .version 1002"):
        read_arrays(tmp_path / "x.pth")
