"""scripts/convert_weights.py, as a user runs it."""

import subprocess
import sys

import numpy as np
import pytest
import safetensors.numpy

from formula_weights import SMALL_ARRAYS
from models.weights import read_weights, write_weights
from models.weights.matching import tensor_names
from models.weights.names import NAMINGS
from scripts.convert_weights import main


@pytest.fixture
def source(tmp_path):
    write_weights(tmp_path / "source.pdparams", SMALL_ARRAYS, 18)
    return str(tmp_path / "source.pdparams")


def test_without_a_destination_every_tensor_is_listed(source, tmp_path, capsys):
    main([source])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"{source}: ResNet-18 in the names of this project"
    assert lines[1] == "102 tensors of 102 are there, 0 missing, 0 unknown, 0 of training state"
    assert ["fc.weight", "fc.weight", "[4,", "2]"] in [line.split() for line in lines]
    part = {name: array for name, array in SMALL_ARRAYS.items() if name != "fc.bias"} | {
        "other": np.zeros(1, np.float32)
    }
    write_weights(tmp_path / "part.safetensors", part, 18, NAMINGS["torchvision"])
    main([str(tmp_path / "part.safetensors")])
    lines = capsys.readouterr().out.splitlines()
    assert lines[1] == "101 tensors of 102 are there, 1 missing, 1 unknown, 0 of training state"
    rows = [line.split() for line in lines]
    assert ["bn1.running_mean", "backbone.bn1._mean", "[3]"] in rows
    assert ["missing", "fc.bias"] in rows and ["other", "-", "[1]"] in rows


@pytest.mark.parametrize("name", ["x.pdparams", "x.safetensors", "folder", "folder.v1/"])
def test_every_destination_reads_back_the_same(source, tmp_path, name, capsys):
    main([source, str(tmp_path / name) + ("/" if name.endswith("/") else "")])
    assert "ResNet-18 in the names of this project, 102 tensors" in capsys.readouterr().out
    back = read_weights(tmp_path / name).arrays
    assert all(np.array_equal(back[tensor], SMALL_ARRAYS[tensor]) for tensor in SMALL_ARRAYS)


def test_other_toolkits_find_their_own_names_and_layout(source, tmp_path):
    main([source, str(tmp_path / "x.safetensors"), "--names=mmaction2"])
    written = safetensors.numpy.load_file(tmp_path / "x.safetensors")
    assert set(written) == set(tensor_names(NAMINGS["mmaction2"], 18))
    assert written["cls_head.fc_cls.weight"].shape == (2, 4)


def test_efficientnet_lite_is_listed_and_written_back_to_the_bit(tmp_path, capsys):
    names = tensor_names(NAMINGS["efficientnet_lite_pytorch"], 0)
    theirs = {name: np.full((2, 3) if name == "_fc.weight" else 3, i, np.float32) for i, name in enumerate(names)}
    theirs["_fc.weight"] = np.arange(6, dtype=np.float32).reshape(2, 3)  # two classes, as torch stores them
    safetensors.numpy.save_file(theirs, tmp_path / "theirs.safetensors")
    main([str(tmp_path / "theirs.safetensors")])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].endswith(": EfficientNet-Lite0 in the names of efficientnet_lite_pytorch")
    assert lines[1] == "247 tensors of 247 are there, 0 missing, 0 unknown, 0 of training state"
    rows = [line.split() for line in lines]
    assert ["_blocks.1._bn0.running_var", "backbone.blocks.1.bn0._variance", "[3]"] in rows
    assert ["_fc.weight", "fc.weight", "[3,", "2]"] in rows
    main([str(tmp_path / "theirs.safetensors"), str(tmp_path / "ours.pdparams")])
    main([str(tmp_path / "ours.pdparams"), str(tmp_path / "back.safetensors"), "--names=efficientnet_lite_pytorch"])
    back = safetensors.numpy.load_file(tmp_path / "back.safetensors")
    assert back.keys() == theirs.keys()
    assert all(np.array_equal(back[name], theirs[name]) for name in theirs)
    for arguments in (["x.pdparams", "--names=torchvision"], ["folder"]):
        with pytest.raises(ValueError, match="for resnet, but .* with --names=ours or efficientnet_lite_pytorch"):
            main([str(tmp_path / "ours.pdparams"), *arguments])


@pytest.mark.parametrize("arguments, line", [
    (["x.pth"], "error: x.pth: unknown format .pth; DST takes .pdparams, .safetensors, or no suffix for"),
    (["folder", "--names=mmaction2"], "error: folder: a folder is written in the original's names; leave out"),
    (["{source}"], "source.pdparams: exists already; remove it, or choose another name"),
    (["x.pdparams", "--names=keras"], "error: argument --names: invalid choice: 'keras'"),
])  # fmt: skip
def test_mistakes_are_told_in_one_line(source, arguments, line):
    arguments = [argument.format(source=source) for argument in arguments]
    command = [sys.executable, "scripts/convert_weights.py", source, *arguments]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2 and line in done.stderr and len(done.stderr.splitlines()) == 1
