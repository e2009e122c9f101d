"""export.py --triton: a model repository, which says of the model what is in the file."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from google.protobuf import descriptor_pb2, message_factory, text_format
from onnx import TensorProto, helper

import export
from common import whole_file
from conftest import NUM_CLASSES, SIDE, leftover, small_flags, write_random_weights
from inference.triton import model_folder, write_model

ROOT = Path(__file__).resolve().parent.parent
NAMES = ["red thing", "green thing", "蓝色的东西"]
NUM_FEATURES = 512  # of a ResNet-18


OWN_CONFIG = """
name: "own_model_config.proto" package: "inference" syntax: "proto3"
enum_type { name: "DataType"
  value { name: "TYPE_INVALID" number: 0 } value { name: "TYPE_UINT8" number: 2 } value { name: "TYPE_FP32" number: 11 }
}
message_type { name: "ModelInput"
  field { name: "name" number: 1 type: TYPE_STRING }
  field { name: "data_type" number: 2 type: TYPE_ENUM type_name: ".inference.DataType" }
  field { name: "dims" number: 4 type: TYPE_INT64 label: LABEL_REPEATED }
}
message_type { name: "ModelOutput"
  field { name: "name" number: 1 type: TYPE_STRING }
  field { name: "data_type" number: 2 type: TYPE_ENUM type_name: ".inference.DataType" }
  field { name: "dims" number: 3 type: TYPE_INT64 label: LABEL_REPEATED }
  field { name: "label_filename" number: 4 type: TYPE_STRING }
}
message_type { name: "ModelDynamicBatching"
  field { name: "preferred_batch_size" number: 1 type: TYPE_INT32 label: LABEL_REPEATED }
  field { name: "max_queue_delay_microseconds" number: 2 type: TYPE_UINT64 }
}
message_type { name: "ModelConfig"
  field { name: "name" number: 1 type: TYPE_STRING }
  field { name: "max_batch_size" number: 4 type: TYPE_INT32 }
  field { name: "input" number: 5 type: TYPE_MESSAGE type_name: ".inference.ModelInput" label: LABEL_REPEATED }
  field { name: "output" number: 6 type: TYPE_MESSAGE type_name: ".inference.ModelOutput" label: LABEL_REPEATED }
  field { name: "dynamic_batching" number: 11 type: TYPE_MESSAGE type_name: ".inference.ModelDynamicBatching" }
  field { name: "backend" number: 17 type: TYPE_STRING }
}
"""
"""Of Triton's model_config.proto, what is written here."""


def model_config():
    """An empty `ModelConfig`, Triton's own where its client is installed."""
    try:
        from tritonclient.grpc import model_config_pb2
    except ImportError:
        file = text_format.Parse(OWN_CONFIG, descriptor_pb2.FileDescriptorProto())
        return message_factory.GetMessages([file])["inference.ModelConfig"]()
    return model_config_pb2.ModelConfig()


def read_config(folder):
    return text_format.Parse((folder / "config.pbtxt").read_text(encoding="utf-8"), model_config())


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return write_random_weights(tmp_path_factory.mktemp("weights"))


@pytest.fixture(scope="module")
def flags(small_set, weights, tmp_path_factory):
    labels = tmp_path_factory.mktemp("labels") / "labels.txt"
    labels.write_text("\n".join(NAMES), encoding="utf-8")
    return [*small_flags(small_set), "-o", f"MODEL.label_file={labels}", f"--weights={weights}"]


@pytest.fixture(scope="module")
def exported(flags, tmp_path_factory):
    """(the export, the model repository beside it)."""
    folder = tmp_path_factory.mktemp("export")
    repository = folder / "a" / "models"
    return export.main([*flags, f"--save_dir={folder}", "--format=onnx", f"--triton={repository}"]), repository


def test_the_repository_is_laid_out_as_triton_reads_it(exported):
    _, repository = exported
    files = {str(path.relative_to(repository)) for path in repository.rglob("*") if path.is_file()}
    assert files == {"tsn/config.pbtxt", "tsn/labels.txt", "tsn/1/model.onnx"}
    assert (repository / "tsn" / "labels.txt").read_text(encoding="utf-8").splitlines() == NAMES


def test_the_config_says_what_the_file_takes_and_gives(exported):
    config = read_config(exported[1] / "tsn")
    session = onnxruntime.InferenceSession(str(exported[1] / "tsn" / "1" / "model.onnx"))
    types = {"tensor(uint8)": "TYPE_UINT8", "tensor(float)": "TYPE_FP32"}
    for written, real in ((config.input, session.get_inputs()), (config.output, session.get_outputs())):
        data_type = written[0].DESCRIPTOR.fields_by_name["data_type"].enum_type.values_by_number
        said = {end.name: (data_type[end.data_type].name, list(end.dims)) for end in written}
        assert said == {
            end.name: (types[end.type], [-1 if isinstance(dim, str) else dim for dim in end.shape[1:]]) for end in real
        }
        assert all(end.shape[0] == "batch" for end in real)
    assert [list(end.dims) for end in config.input] == [[-1, 3, SIDE, SIDE]]
    assert {end.name: list(end.dims) for end in config.output} == {
        "probabilities": [NUM_CLASSES], "features": [NUM_FEATURES],
    }  # fmt: skip
    assert {end.name: end.label_filename for end in config.output} == {"probabilities": "labels.txt", "features": ""}


def test_the_config_batches(exported):
    config = read_config(exported[1] / "tsn")
    assert (config.name, config.backend) == ("tsn", "onnxruntime")
    assert config.max_batch_size == max(config.dynamic_batching.preferred_batch_size) > 1
    assert 0 < config.dynamic_batching.max_queue_delay_microseconds <= 10_000


def test_the_model_answers_as_the_export_does(exported):
    source, repository = exported
    copy = repository / "tsn" / "1" / "model.onnx"
    assert copy.read_bytes() == source.read_bytes()
    ours, theirs = (onnxruntime.InferenceSession(str(path)) for path in (source, copy))
    largest = read_config(repository / "tsn").max_batch_size
    for clips, frames in ((1, 3), (largest, 5)):
        clip = np.random.default_rng(0).integers(0, 256, (clips, frames, 3, SIDE, SIDE), np.uint8)
        said = theirs.run(["probabilities", "features"], {"frames": clip})
        assert said[0].shape == (clips, NUM_CLASSES)
        for expected, found in zip(ours.run(["probabilities", "features"], {"frames": clip}), said, strict=True):
            assert np.array_equal(expected, found)


def test_classes_without_names_are_numbered(exported, tmp_path):
    write_model(exported[0], tmp_path / "tsm", None)
    assert (tmp_path / "tsm" / "labels.txt").read_text() == "class 0\nclass 1\nclass 2\n"
    assert read_config(tmp_path / "tsm").name == "tsm"


@pytest.mark.parametrize("name", ["paddle", "openvino"])
def test_another_format_is_refused_before_the_work(name, flags, tmp_path):
    with pytest.raises(ValueError, match=f"^--triton is for --format=onnx, not {name}$"):
        export.main([*flags, f"--save_dir={tmp_path / 'e'}", f"--format={name}", f"--triton={tmp_path / 'models'}"])
    assert not list(tmp_path.iterdir())


def test_mistakes_are_told_in_one_line(flags, tmp_path):
    (tmp_path / "models" / "tsn").mkdir(parents=True)
    (tmp_path / "file").touch()
    for words, line in (
        (["--format=paddle", "--triton=models"], "error: --triton is for --format=onnx, not paddle\n"),
        (["--format=onnx", "--triton=models"],
         "error: models/tsn: is there already; remove it, or choose another folder by --triton\n"),
        (["--format=onnx", "--triton=file"], "error: [Errno 17] File exists: 'file'\n"),
    ):  # fmt: skip
        command = [sys.executable, str(ROOT / "export.py"), *flags, "--save_dir=e", *words]
        command = [word.replace("configs/", f"{ROOT}/configs/") for word in command]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
        assert (done.returncode, done.stderr) == (2, line)
        assert not (tmp_path / "e").exists() and not list((tmp_path / "models" / "tsn").iterdir())


def test_what_is_there_is_not_overwritten(exported, flags, tmp_path):
    before = sorted((path, path.stat().st_mtime_ns) for path in exported[1].rglob("*"))
    with pytest.raises(FileExistsError, match="tsn: is there already; remove it, or choose another folder by --triton"):
        export.main([*flags, f"--save_dir={tmp_path}", "--format=onnx", f"--triton={exported[1]}"])
    assert sorted((path, path.stat().st_mtime_ns) for path in exported[1].rglob("*")) == before
    assert not list(tmp_path.iterdir())
    (tmp_path / "tsn").symlink_to("nowhere")
    with pytest.raises(FileExistsError):
        model_folder(tmp_path, "TSN", "onnx")


def test_a_full_disk_leaves_neither_a_model_nor_an_export(flags, tmp_path, monkeypatch):
    copyfile = shutil.copyfile

    def full(source, target):
        if "models" in str(target):
            raise OSError(28, "No space left on device", str(target))
        return copyfile(source, target)

    monkeypatch.setattr(shutil, "copyfile", full)
    words = [*flags, f"--save_dir={tmp_path / 'e'}", "--format=onnx", f"--triton={tmp_path / 'models'}"]
    with pytest.raises(OSError, match="No space left"):
        export.main(words)
    assert not list((tmp_path / "models").iterdir()) and not list((tmp_path / "e").iterdir())
    monkeypatch.undo()
    leftover(tmp_path / "models" / "tsn").mkdir()
    export.main(words)
    assert os.listdir(tmp_path / "models") == ["tsn"], "the next run removes what was left"


def test_a_model_that_another_run_has_put_there_meanwhile_is_kept(exported, tmp_path, monkeypatch):
    unfinished_path = whole_file.unfinished_path

    def meanwhile(path):
        (path / "theirs").mkdir(parents=True)
        return unfinished_path(path)

    monkeypatch.setattr(whole_file, "unfinished_path", meanwhile)
    with pytest.raises(OSError):
        write_model(exported[0], tmp_path / "tsn", None)
    assert [str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")] == ["tsn", "tsn/theirs"]


def other_file(path, name="frames", kind=TensorProto.UINT8, shape=("batch", "num_frames", 3, 8, 8), classes=3):
    ends = {"probabilities": ["batch", classes], "features": ["batch", 9]}
    outputs = [helper.make_tensor_value_info(end, TensorProto.FLOAT, dims) for end, dims in ends.items()]
    inputs = [helper.make_tensor_value_info(name, kind, shape)]
    onnx.save(helper.make_model(helper.make_graph([], "graph", inputs, outputs)), str(path))
    return path


@pytest.mark.parametrize("options", [
    {"name": "x"}, {"kind": TensorProto.FLOAT}, {"shape": ("batch", 3, 8, 8)}, {"classes": "K"},
])  # fmt: skip
def test_another_onnx_file_is_refused(options, tmp_path):
    write_model(other_file(tmp_path / "other.onnx"), tmp_path / "tsn", None)
    with pytest.raises(ValueError, match="other.onnx: takes and gives .*, which is no export of this project"):
        write_model(other_file(tmp_path / "other.onnx", **options), tmp_path / "tsm", None)
    with pytest.raises(ValueError, match="other.onnx: has 3 classes, but there are 2 names"):
        write_model(other_file(tmp_path / "other.onnx"), tmp_path / "tsm", ["a", "b"])
    assert not (tmp_path / "tsm").exists()
