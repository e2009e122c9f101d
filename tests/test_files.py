"""Reading weights under this project's names, and writing them for others, to the bit."""

import filecmp
import tarfile
from pathlib import Path

import numpy as np
import paddle
import pytest

from conftest import leftover
from formula_weights import SMALL_ARRAYS, formula_arrays, formula_weights, write_original_folder
from models.weights import read_weights, write_weights
from models.weights.names import NAMINGS
from torch_files import save


@pytest.fixture(scope="module")
def original(tmp_path_factory) -> Path:
    """The 267 formula weights in the original's format."""
    return write_original_folder(tmp_path_factory.mktemp("original") / "tsn_kinetics", formula_arrays())


def pack(original: Path, folder: Path) -> Path:
    with tarfile.open(folder / "tsn_kinetics.tar.gz", "w:gz", compresslevel=1) as archive:
        archive.add(original, original.name)
    return folder / "tsn_kinetics.tar.gz"


def convert(suffix: str, **arguments):
    def write(original: Path, folder: Path) -> Path:
        weights = read_weights(original)
        write_weights(folder / f"weights{suffix}", weights.arrays, weights.num_layers, **arguments)
        return folder / f"weights{suffix}"

    return write


def write_npz(original: Path, folder: Path) -> Path:
    np.savez(folder / "weights.npz", **formula_arrays())
    return folder / "weights.npz"


CONVERSIONS = {
    "tar.gz": pack,
    "pdparams": convert(".pdparams"),
    "safetensors": convert(".safetensors"),
    "safetensors for torchvision": convert(".safetensors", naming=NAMINGS["torchvision"]),
    "pdparams for PaddleVideo": convert(".pdparams", naming=NAMINGS["paddlevideo"]),
    "npz": write_npz,
    "pth": lambda original, folder: save(folder / "weights.pth", {"state_dict": read_weights(original).arrays}),
    "legacy pth": lambda original, folder: save(folder / "weights.pth", read_weights(original).arrays, legacy=True),
    "checkpoint folder": lambda original, folder: (
        convert(".pdparams")(original, folder).rename(folder / "model.pdparams").parent
    ),
}


def test_the_original_reads_under_our_names(original):
    weights, expected = read_weights(original), formula_weights().arrays
    assert weights.description() == "ResNet-50 in the names of the 2019 original"
    assert weights.arrays.keys() == expected.keys()
    assert all(np.array_equal(weights.arrays[name], expected[name]) for name in expected)


@pytest.mark.parametrize("conversion", CONVERSIONS)
def test_every_conversion_and_back_is_the_same_to_the_bit(conversion, original, tmp_path):
    converted = read_weights(CONVERSIONS[conversion](original, tmp_path))
    back = tmp_path / "back"
    write_weights(back, converted.arrays, converted.num_layers, NAMINGS["original"], as_folder=True)
    names = sorted(path.name for path in original.iterdir())
    assert sorted(path.name for path in back.iterdir()) == ["SHA256SUMS", *names]
    assert len(names) == 267
    same, different, missing = filecmp.cmpfiles(original, back, names, shallow=False)
    assert (len(same), different, missing) == (267, [], [])


def test_training_state_among_the_weights_is_passed_over(tmp_path):
    arrays = {
        **formula_arrays(),
        "fc_0.b_0_velocity_0": np.ones(8), "@LR_DECAY_COUNTER@": np.ones(1), "learning_rate": np.ones(1),
        "mean_0.tmp_0": np.ones(1),
    }  # fmt: skip
    weights = read_weights(write_original_folder(tmp_path / "checkpoint", arrays))
    assert len(weights.arrays) == 267
    assert sorted(weights.passed_over) == ["@LR_DECAY_COUNTER@", "fc_0.b_0_velocity_0", "learning_rate", "mean_0.tmp_0"]


def write(folder: Path, arrays: dict[str, np.ndarray]) -> Path:
    paddle.save({name: paddle.to_tensor(array) for name, array in arrays.items()}, str(folder / "x.pdparams"))
    return folder / "x.pdparams"


def test_data_parallel_prefixes_go(tmp_path):
    path = save(tmp_path / "x.pth", {f"module.{name}": array for name, array in SMALL_ARRAYS.items()})
    assert read_weights(path).arrays.keys() == SMALL_ARRAYS.keys()


def test_a_name_with_and_without_the_prefix_is_refused(tmp_path):
    path = save(tmp_path / "x.pth", {**SMALL_ARRAYS, "module.fc.bias": SMALL_ARRAYS["fc.bias"]})
    with pytest.raises(ValueError, match="x.pth: holds fc.bias both with and without 'module.'"):
        read_weights(path)


@pytest.mark.parametrize("key", [
    "conv1_1_weights", "conv1_1._conv.weight", "backbone.conv1_2._batch_norm.bias", "stem.1.conv.weight",
    "backbone.stem.3.weight", "conv1.0.weight",
])  # fmt: skip
def test_resnet_d_is_refused_by_name(tmp_path, key):
    path = write(tmp_path, {**SMALL_ARRAYS, key: np.zeros(1, np.float32)})
    with pytest.raises(ValueError, match=f"x.pdparams: is a ResNet-D .it has {key}"):
        read_weights(path)


@pytest.mark.parametrize("value, reason", [
    (np.array([1, np.nan, 0], np.float32), "numbers that are not finite"),
    (np.array([1, np.inf, 0], np.float32), "numbers that are not finite"),
    (np.array([1e300, 0, 0]), "numbers that are not finite"),
    (np.array([1, 2, 3], np.int32), "int32, not floating-point"),
])  # fmt: skip
def test_numbers_that_no_weights_are_are_refused(tmp_path, value, reason):
    with pytest.raises(ValueError, match=f"x.pdparams: backbone.bn1.bias holds {reason}"):
        read_weights(write(tmp_path, {**SMALL_ARRAYS, "backbone.bn1.bias": value}))


def test_unknown_names_are_refused_with_the_known_ones(tmp_path):
    with pytest.raises(ValueError, match=r"x.pdparams: no tensor is named .*it has blah, .*MMAction2's TSN"):
        read_weights(write(tmp_path, {"blah": np.zeros(1, np.float32)}))


def test_an_empty_archive_is_refused(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="tsn_kinetics.tar.gz: holds no tensors"):
        read_weights(pack(tmp_path / "empty", tmp_path))


def test_absent_weights_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="absent: no such weights; give a checkpoint folder, a .pdparams"):
        read_weights(tmp_path / "absent")


def test_nothing_is_overwritten_and_nothing_half_written_stays(tmp_path, monkeypatch):
    write_weights(tmp_path / "x.pdparams", SMALL_ARRAYS, 18)
    with pytest.raises(FileExistsError, match="x.pdparams: exists already"):
        write_weights(tmp_path / "x.pdparams", SMALL_ARRAYS, 18)
    before = sorted(path.name for path in tmp_path.iterdir())
    assert before == ["x.pdparams", "x.pdparams.sha256"]

    def full_disk(*args):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as full:
        full.setattr("os.replace", full_disk)
        for name, as_folder in (("y.pdparams", False), ("y.safetensors", False), ("y", True)):
            with pytest.raises(OSError, match="No space left"):
                write_weights(tmp_path / name, SMALL_ARRAYS, 18, as_folder=as_folder)
    assert sorted(path.name for path in tmp_path.iterdir()) == before
    leftover(tmp_path / "y").mkdir()  # what a killed run left
    write_weights(tmp_path / "y", SMALL_ARRAYS, 18, NAMINGS["original"], as_folder=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == [*before, "y"]


def test_a_written_folder_can_be_packed(tmp_path):
    folder = tmp_path / "folder"
    write_weights(folder, SMALL_ARRAYS, 18, NAMINGS["original"], as_folder=True)
    assert read_weights(pack(folder, tmp_path)).arrays.keys() == SMALL_ARRAYS.keys()
    content = bytearray((folder / "fc_0.b_0").read_bytes())
    content[-1] ^= 1
    (folder / "fc_0.b_0").write_bytes(content)
    with pytest.raises(ValueError, match="tsn_kinetics.tar.gz: its file fc_0.b_0 has changed"):
        read_weights(pack(folder, tmp_path))
    (folder / "fc_0.b_0").unlink()
    with pytest.raises(ValueError, match="tsn_kinetics.tar.gz: has no fc_0.b_0"):
        read_weights(pack(folder, tmp_path))


def test_a_backbone_without_a_last_layer_is_written_too(tmp_path):
    backbone = {name: array for name, array in SMALL_ARRAYS.items() if not name.startswith("fc.")}
    write_weights(tmp_path / "x.safetensors", backbone, 18, NAMINGS["torchvision"])
    assert read_weights(tmp_path / "x.safetensors").arrays.keys() == backbone.keys()


def test_paddle_itself_reads_what_is_written(tmp_path):
    write_weights(tmp_path / "x.pdparams", SMALL_ARRAYS, 18)
    loaded = paddle.load(str(tmp_path / "x.pdparams"))
    assert all(np.array_equal(loaded[name].numpy(), SMALL_ARRAYS[name]) for name in SMALL_ARRAYS)
