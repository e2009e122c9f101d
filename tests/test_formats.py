"""Every format reads to the same arrays; damaged and hostile files of each are refused with one line."""

import io
import json
import os
import pickle
import random
import shutil
import struct
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import paddle
import pytest
import safetensors.numpy

from formula_weights import write_original_folder
from models.weights import formats
from models.weights.files import read_weights
from models.weights.formats import read_arrays
from torch_files import save

RNG = np.random.default_rng(0)
ARRAYS = {
    "conv1_weights": RNG.standard_normal((4, 3, 2, 2)).astype(np.float32),
    "bn_conv1_scale": RNG.random(4).astype(np.float32),
    "fc_0.b_0": np.arange(3, dtype=np.float32),
}


def write_tar(path: Path, mode: str = "w:gz") -> Path:
    folder = write_original_folder(path.with_name(f"{path.name} unpacked"), ARRAYS)
    with tarfile.open(path, mode) as archive:
        archive.add(folder, "tsn_kinetics")
    shutil.rmtree(folder)
    return path


def write_paddle(path: Path) -> Path:
    paddle.save({name: paddle.to_tensor(array) for name, array in ARRAYS.items()}, str(path))
    return path


def write_checkpoint(path: Path) -> Path:
    path.mkdir()
    write_paddle(path / "model.pdparams")
    return path


def write_npz(path: Path) -> Path:
    with path.open("wb") as file:  # a path would get the suffix .npz
        np.savez(file, **ARRAYS)
    return path


def write_safetensors(path: Path) -> Path:
    safetensors.numpy.save_file(ARRAYS, path)
    return path


WRITERS = {
    "checkpoint folder": write_checkpoint,
    "pdparams": write_paddle,
    "original folder": lambda path: write_original_folder(path, ARRAYS),
    "tar.gz": write_tar,
    "tar": lambda path: write_tar(path, "w"),
    "safetensors": write_safetensors,
    "npz": write_npz,
    "pth zip": lambda path: save(path, {"state_dict": ARRAYS}),
    "pth legacy": lambda path: save(path, {"model": ARRAYS, "epoch": 3}, legacy=True),
}
HAS_OWN_SUM = ("tar.gz", "npz", "pth zip")


def same(read: dict[str, np.ndarray]) -> bool:
    return read.keys() == ARRAYS.keys() and all(np.array_equal(read[name], ARRAYS[name]) for name in ARRAYS)


@pytest.mark.parametrize("kind", WRITERS)
def test_every_format_is_known_by_its_content(kind, tmp_path):
    assert same(read_arrays(WRITERS[kind](tmp_path / "weights without a suffix")))


def bytes_of(path: Path) -> Path:
    """The file itself, or the file of a folder that holds most of its bytes."""
    files = [path] if path.is_file() else [file for file in path.iterdir() if file.name != "SHA256SUMS"]
    return max(files, key=lambda file: file.stat().st_size)


@pytest.mark.parametrize("kind", WRITERS)
def test_cut_files_are_refused(kind, tmp_path):
    file = bytes_of(WRITERS[kind](tmp_path / "weights"))
    content = file.read_bytes()
    for length in [0, 1, 10, len(content) // 2, len(content) - 1]:
        if kind == "tar" and length == len(content) - 1:
            continue  # a tar ends in kilobytes of padding
        file.write_bytes(content[:length])
        with pytest.raises((ValueError, FileNotFoundError), match="weights"):
            read_arrays(tmp_path / "weights")


@pytest.mark.parametrize("kind", WRITERS)
def test_flipped_bits_never_get_past_a_sum_and_never_crash(kind, tmp_path):
    """A format with sums of its own gives the right arrays or an error; the others can at most give other numbers."""
    file = bytes_of(WRITERS[kind](tmp_path / "weights"))
    content, rng, num_refused = file.read_bytes(), random.Random(0), 0
    for _ in range(400):
        flipped = bytearray(content)
        flipped[rng.randrange(min(len(content), rng.choice([100, len(content)])))] ^= 1 << rng.randrange(8)
        file.write_bytes(flipped)
        try:
            read = read_arrays(tmp_path / "weights")
        except (ValueError, FileNotFoundError) as error:
            assert "weights" in str(error) and "\n" not in str(error)
            num_refused += 1
        else:
            # at worst a zip's list of members loses some, which are then reported as missing
            assert kind not in HAS_OWN_SUM or all(np.array_equal(read[name], ARRAYS[name]) for name in read)
    assert num_refused > 50


@pytest.mark.parametrize("kind", WRITERS)
def test_flipped_bits_are_all_found_where_checksums_were_recorded(kind, tmp_path):
    path = WRITERS[kind](tmp_path / "weights")
    formats.checksums.record(path)
    file = bytes_of(path)
    content = file.read_bytes()
    for position in range(0, len(content), max(len(content) // 50, 1)):
        flipped = bytearray(content)
        flipped[position] ^= 1
        file.write_bytes(flipped)
        with pytest.raises(ValueError, match="has changed since its SHA-256 was written"):
            read_arrays(path)


class Attack:
    def __init__(self, target: Path):
        self.target = target

    def __reduce__(self):
        return os.mkdir, (str(self.target),)


def test_hostile_files_are_refused_and_run_nothing(tmp_path):
    made = tmp_path / "made"
    attack = {"conv1_weights": ARRAYS["conv1_weights"], "attack": Attack(made)}
    (tmp_path / "attack.pdparams").write_bytes(pickle.dumps(attack))
    save(tmp_path / "attack.pth", attack)
    save(tmp_path / "attack-legacy.pth", attack, legacy=True)
    objects = np.array([Attack(made)], dtype=object)
    np.savez(tmp_path / "attack.npz", conv1_weights=objects)
    for name in ("attack.pdparams", "attack.pth", "attack-legacy.pth", "attack.npz"):
        with pytest.raises(ValueError, match=f"{name}: .*(mkdir|allow_pickle|[Oo]bject arrays)"):
            read_arrays(tmp_path / name)
    assert not made.exists()


@pytest.mark.parametrize("name", ["../escape", "/tmp/tsn-escape"])
def test_an_archive_writes_nothing_anywhere(tmp_path, name):
    content = (write_original_folder(tmp_path / "folder", ARRAYS) / "fc_0.b_0").read_bytes()
    with tarfile.open(tmp_path / "weights.tar.gz", "w:gz") as archive:
        info = tarfile.TarInfo(name)
        info.size = len(content)
        archive.addfile(info, io.BytesIO(content))
    before = set(tmp_path.rglob("*"))
    with pytest.raises(ValueError, match="would lie outside"):
        read_arrays(tmp_path / "weights.tar.gz")
    assert set(tmp_path.rglob("*")) == before and not Path("/tmp/tsn-escape").exists()


@pytest.mark.parametrize("shape", ["(1000000000000,)", "(99999, 99999, 99)"])
def test_an_array_that_claims_to_be_huge_is_refused(tmp_path, shape):
    header = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}".ljust(117) + "\n"
    with zipfile.ZipFile(tmp_path / "bomb.npz", "w") as archive:
        archive.writestr("a.npy", b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header.encode())
    with pytest.raises(ValueError, match="bomb.npz: its member a.npy is no array"):
        read_arrays(tmp_path / "bomb.npz")
    (tmp_path / "bomb.safetensors").write_bytes(
        (64).to_bytes(8, "little") + b'{"a":{"dtype":"F32","shape":[99999,99999,99],"data_offsets":[0,0]}}'[:64]
    )
    with pytest.raises(ValueError, match="bomb.safetensors: damaged"):
        read_arrays(tmp_path / "bomb.safetensors")


def test_half_precision_safetensors(tmp_path):
    values = np.array([1.5, -0.25], np.float32)
    halves = values.astype("<f2").tobytes(), (values.view(np.uint32) >> 16).astype("<u2").tobytes()
    header = {
        "half": {"dtype": "F16", "shape": [2], "data_offsets": [0, 4]},
        "brain": {"dtype": "BF16", "shape": [2], "data_offsets": [4, 8]},
    }
    header = json.dumps(header).encode()
    content = struct.pack("<Q", len(header)) + header + b"".join(halves)
    (tmp_path / "half.safetensors").write_bytes(content)
    read = read_arrays(tmp_path / "half.safetensors")
    assert read["half"].tolist() == read["brain"].tolist() == values.tolist()


def test_nested_paddle_checkpoints(tmp_path):
    nested = {"epoch": 3, "model": {name: paddle.to_tensor(array) for name, array in ARRAYS.items()}}
    paddle.save(nested, str(tmp_path / "nested.pdparams"))
    assert same(read_arrays(tmp_path / "nested.pdparams"))


def test_every_pickle_protocol_of_paddle(tmp_path):
    for protocol in (2, 3, 4):
        tensors = {name: paddle.to_tensor(array) for name, array in ARRAYS.items()}
        paddle.save(tensors, str(tmp_path / "x.pdparams"), protocol=protocol)
        assert same(read_arrays(tmp_path / "x.pdparams"))


def test_what_is_no_weights_is_refused_by_name(tmp_path):
    (tmp_path / "folder").mkdir()
    with pytest.raises(FileNotFoundError, match="folder: no weights in this folder; give a checkpoint folder, "):
        read_arrays(tmp_path / "folder")
    for name, content, reason in [
        ("text", b"no weights", "is of no known format"),
        ("list", pickle.dumps([1]), "holds a list, not weights"),
        ("numbers", pickle.dumps({"lr": 1, "epoch": 2}), "holds a dict of lr, epoch, not weights"),
    ]:
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ValueError, match=f"{name}: {reason}"):
            read_arrays(tmp_path / name)


def test_a_file_that_does_not_belong_into_a_folder_of_variables_is_named(tmp_path):
    folder = write_original_folder(tmp_path / "folder", ARRAYS)
    (folder / ".DS_Store").write_bytes(b"passed over")
    assert same(read_arrays(folder))
    (folder / "notes").write_bytes(b"what is this?")
    with pytest.raises(ValueError, match="folder: its file notes does not begin as a variable"):
        read_arrays(folder)


def safetensors_file(path: Path, header: bytes, data: bytes) -> Path:
    path.write_bytes(struct.pack("<Q", len(header)) + header + data)
    return path


@pytest.mark.parametrize("length", [0x80, 0x4B50, 0x8B1F])
def test_safetensors_whose_length_looks_like_another_format(tmp_path, length):
    """Their first byte is a pickle's, or the first two are a zip's or a gzip's."""
    header = b'{"conv1_weights":{"dtype":"F32","shape":[3],"data_offsets":[0,12]}}'.ljust(length)
    read = read_arrays(safetensors_file(tmp_path / "x", header, np.arange(3, dtype="<f4").tobytes()))
    assert read["conv1_weights"].tolist() == [0, 1, 2]


@pytest.mark.parametrize("shape, data", [([1] * 65, b"1234"), ([2**62, 0], b""), ([0, 2**40, 2**40], b"")])
def test_impossible_shapes_of_safetensors(tmp_path, shape, data):
    header = {"a": {"dtype": "F32", "shape": shape, "data_offsets": [0, len(data)]}}
    safetensors_file(tmp_path / "x", json.dumps(header).encode(), data)
    with pytest.raises(ValueError, match="x: damaged safetensors file: a has an impossible shape"):
        read_arrays(tmp_path / "x")


@pytest.mark.parametrize("header", [
    b"{'descr': '|O', 'fortran_order': False, 'shape': (1,), }", b"{'descr': [('a', '<f4')], 'shape': (1,)}",
    b"{'descr': '<f4', 'fortran_order': False, 'shape': (" + b"-" * 9000 + b"1,), }", b"{" * 900,
    b"{'descr': '<f4', 'fortran_order': False, 'shape': (2,), }",
    b"{'descr': '<U1', 'fortran_order': True, 'shape': ()}",
])  # fmt: skip
def test_npy_headers_of_no_array_of_numbers(tmp_path, header):
    with zipfile.ZipFile(tmp_path / "x.npz", "w") as archive:
        archive.writestr("a.npy", b"\x93NUMPY\1\0" + struct.pack("<H", len(header)) + header + b"1234")
    with pytest.raises(ValueError, match="x.npz: its member a.npy is no array of numbers: it h"):
        read_arrays(tmp_path / "x.npz")


@pytest.mark.parametrize(
    "array", [np.asfortranarray(ARRAYS["conv1_weights"]), np.array(1.5), np.zeros((0, 3)), np.ones(2, ">f4")]
)
def test_npz_of_every_order(tmp_path, array):
    np.savez(tmp_path / "x.npz", array=array)
    (read,) = read_arrays(tmp_path / "x.npz").values()
    assert read.dtype == array.dtype and read.shape == array.shape and np.array_equal(read, array)


@pytest.mark.parametrize("name", ["a" * 300, "two\nlines"])
def test_names_that_are_none(tmp_path, name):
    np_file = {name: np.ones(1, np.float32)}
    safetensors.numpy.save_file(np_file, tmp_path / "x.safetensors")
    with pytest.raises(ValueError, match="x.safetensors: has a tensor whose name is none"):
        read_weights(tmp_path / "x.safetensors")
