"""export.py, and its files run by their own runtimes, also through test.py and infer.py."""

import importlib.util
import json
import os
import pickle
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import paddle
import pytest

import common.startup  # noqa: F401
import export
import infer
import test as test_verb
from common import checksums
from conftest import NUM_CLASSES, SIDE, small_flags, write_random_weights
from inference import comparing, exported, exporting
from inference.engines.eager import EagerPaddle
from inference.engines.engine import CARD_FILE, Running
from inference.exported import is_exported, open_exported, read_card
from inference.exporting import FORMATS
from inference.session import read_config
from models.registry import create_model
from models.weights import load_weights, read_weights

NAMES = ["red thing", "green thing", "蓝色的东西"]
ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """Random weights whose answers are not all the same."""
    return write_random_weights(tmp_path_factory.mktemp("weights"))


@pytest.fixture(scope="module")
def flags(small_set, tmp_path_factory):
    labels = tmp_path_factory.mktemp("labels") / "labels.txt"
    labels.write_text("\n".join(NAMES), encoding="utf-8")
    return [*small_flags(small_set, INFER__seg_num=3), "-o", f"MODEL.label_file={labels}"]


@pytest.fixture(scope="module")
def exports(weights, flags, tmp_path_factory):
    save_dir = tmp_path_factory.mktemp("exports")
    config_flags = [flag for flag in flags]
    return {
        name: export.main([*config_flags, f"--weights={weights}", f"--save_dir={save_dir / name}", f"--format={name}"])
        for name in FORMATS
    }


@pytest.mark.parametrize("name", FORMATS)
def test_any_number_of_clips_and_segments_gives_what_the_model_gives(name, exports, weights):
    model = create_model("TSN", num_classes=NUM_CLASSES, num_layers=18)
    load_weights(model, read_weights(weights))
    source, exported = EagerPaddle(model), open_exported(exports[name], Running(1))
    for clips, segments in ((1, 1), (2, 3), (5, 25)):
        frames = paddle.randint(0, 256, [clips, segments, 3, SIDE, SIDE]).astype("uint8")
        ours, theirs = source(frames), exported(frames)
        assert theirs.probabilities.shape == (clips, NUM_CLASSES)
        assert np.abs(ours.probabilities - theirs.probabilities).max() < 1e-4
        assert np.allclose(ours.features, theirs.features, rtol=1e-3, atol=1e-3 * np.abs(ours.features).max())


@pytest.mark.parametrize("name", FORMATS)
def test_an_export_carries_its_classes_and_its_config(name, exports):
    assert is_exported(exports[name])
    card = read_card(exports[name])
    assert card.class_names == NAMES
    assert (card.num_classes, card.clip_shape) == (NUM_CLASSES, [None, None, 3, SIDE, SIDE])
    assert "num_layers: 18" in card.config and "labels.txt" not in card.config
    assert card.preprocessing["seg_num"] == 3
    program = exporting.PREPROCESS.read_bytes()
    assert (exports["onnx"].parent / "preprocess.py").read_bytes() == program
    assert "preprocess.py" in checksums.recorded(exports["paddle"] / checksums.FOLDER_SUMS)


@pytest.mark.parametrize("name", FORMATS)
def test_test_and_infer_run_an_export_with_the_same_results(name, exports, weights, flags, small_set, tmp_path):
    for folder, extra in (("source", [*flags, f"--weights={weights}"]), (name, [f"--weights={exports[name]}"])):
        infer.main([*extra, f"--save_dir={tmp_path / folder}", "--features"])
        test_verb.main([*extra, f"--save_dir={tmp_path / folder}"])
    for stem in ("TSN_infer_result", "TSN_test_result"):
        ours, theirs = (pickle.loads((tmp_path / folder / stem).read_bytes()) for folder in ("source", name))
        assert [entry[::2] for entry in ours] == [entry[::2] for entry in theirs]  # names and classes
        assert np.allclose([entry[1] for entry in ours], [entry[1] for entry in theirs], atol=1e-4)
    features = [np.load(tmp_path / folder / "TSN_infer_features.npz") for folder in ("source", name)]
    assert features[0]["paths"].tolist() == features[1]["paths"].tolist()
    assert np.allclose(features[0]["features"], features[1]["features"], rtol=1e-3, atol=1e-3)
    first = json.loads((tmp_path / name / "TSN_infer_result.jsonl").read_text(encoding="utf-8").splitlines()[0])
    assert set(first["class_names"]) == set(NAMES)
    files = [sorted(path.name for path in (tmp_path / folder).iterdir()) for folder in ("source", name)]
    assert files[0] == files[1]


def test_an_onnx_file_needs_no_paddle(exports, tmp_path):
    script = """
import json, sys, numpy, onnxruntime
session = onnxruntime.InferenceSession(sys.argv[1])
card = json.loads(session.get_modelmeta().custom_metadata_map["card"])
frames = numpy.random.default_rng(0).integers(0, 256, (2, 7, 3, 32, 32)).astype("uint8")
probabilities, features = session.run(["probabilities", "features"], {"frames": frames})
assert numpy.allclose(probabilities.sum(axis=1), 1, atol=1e-5) and features.shape == (2, 512)
assert "paddle" not in sys.modules
print(card["class_names"][int(probabilities[0].argmax())] in card["class_names"])
"""
    done = subprocess.run([sys.executable, "-c", script, exports["onnx"]], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0 and done.stdout == "True\n", done.stderr


def test_the_program_in_the_docs_sees_the_frames_that_infer_sees(exports, small_set, tmp_path):
    """Without Paddle, by the preprocess.py that lies beside the model."""
    page = (ROOT / "docs" / "inference.md").read_text(encoding="utf-8")
    (program,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    video = next((small_set / "val").rglob("*.mp4"))
    for theirs, ours in (("exported/model.onnx", exports["onnx"]), ("my.mp4", video), ('"exported"', "sys.argv[1]")):
        assert theirs in program
        program = program.replace(theirs, str(ours))
    program = "import sys; sys.modules['paddle'] = None\n" + program
    done = subprocess.run(
        [sys.executable, "-I", "-c", program, exports["onnx"].parent], capture_output=True, text=True, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    (said,) = infer.main([f"--weights={exports['onnx']}", "--video", str(video), f"--save_dir={tmp_path}"])
    name, _, probability = done.stdout.splitlines()[-1].rpartition(" ")
    assert name == NAMES[said.class_ids[0]] and float(probability) == pytest.approx(said.confidence, abs=1e-5)


@pytest.mark.parametrize("name", FORMATS)
def test_what_computes_something_else_is_refused_and_leaves_nothing(name, weights, flags, tmp_path, monkeypatch):
    monkeypatch.setattr(comparing, "LARGEST_DIFFERENCE", 1e-12)
    with pytest.raises(ValueError, match="the exported model computes something else: .* nothing was written"):
        export.main([*flags, f"--weights={weights}", f"--save_dir={tmp_path}", f"--format={name}"])
    assert list(tmp_path.iterdir()) == []


def test_an_export_whose_end_was_killed_is_none_so_that_the_same_command_can_be_given_again(
    weights, flags, tmp_path, monkeypatch
):
    replace = os.replace

    def killed(source, target):
        if Path(target) == tmp_path / CARD_FILE:
            raise KeyboardInterrupt
        replace(source, target)

    monkeypatch.setattr(os, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        export.main([*flags, f"--weights={weights}", f"--save_dir={tmp_path}"])
    assert (tmp_path / "model.pdiparams").is_file() and not is_exported(tmp_path)


def test_ctrl_c_in_the_midst_of_paddle_ends_the_export_at_once(weights, flags, tmp_path):
    code = """
import os, signal, sys, traceback
signal.signal(signal.SIGINT, signal.default_int_handler)
import common.beginning, common.startup, paddle
import export
from common import command_line

real = traceback.FrameSummary.line.fget

def line(summary):
    is_asked_by_paddle = sys._getframe(1).f_code.co_filename != traceback.__file__
    if is_asked_by_paddle or paddle.__version__.startswith("2."):  # which does all of it in Python
        os.kill(os.getpid(), signal.SIGINT)
    return real(summary)

traceback.FrameSummary.line = property(line)
command_line.run(export.main)
"""
    words = [*flags, f"--weights={weights}", f"--save_dir={tmp_path}"]
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == -signal.SIGINT and "Traceback" not in done.stderr
    assert {path.name.split(".")[1] for path in tmp_path.iterdir()} == {"unfinished"}
    assert is_exported(export.main(words))
    assert not list(tmp_path.glob(".*")), "the next run removes what was left"


def test_weights_that_a_full_disk_has_cut_are_told_in_one_line(weights, flags, tmp_path, monkeypatch):
    """Paddle writes them without a look at what becomes of it."""
    save = paddle.jit.save

    def cut(layer, path):
        save(layer, path)
        os.truncate(f"{path}.pdiparams", 1000)

    monkeypatch.setattr(paddle.jit, "save", cut)
    with pytest.raises(OSError, match="what was just written cannot be read .*is the disk full"):
        export.main([*flags, f"--weights={weights}", f"--save_dir={tmp_path}"])
    assert not list(tmp_path.iterdir())


def test_mistakes(exports, weights, flags, small_set, tmp_path):
    with pytest.raises(FileExistsError, match="holds an export already; remove it, or choose another --save_dir"):
        export.main([*flags, f"--weights={weights}", f"--save_dir={exports['paddle']}"])
    with pytest.raises(ValueError, match="is an export already; give the weights"):
        export.main([f"--weights={exports['onnx']}", f"--save_dir={tmp_path}"])
    with pytest.raises(ValueError, match=r"was exported with INFER.target_size 32, the config has 16; leave out --con"):
        infer.main([*flags, f"--weights={exports['onnx']}", "-o", "INFER.target_size=16", f"--save_dir={tmp_path}"])
    with pytest.raises(ValueError, match="an exported model has no heat maps"):
        infer.main([f"--weights={exports['onnx']}", f"--save_dir={tmp_path}", f"--cam={tmp_path}"])
    damaged = tmp_path / "model.onnx"
    damaged.write_bytes(exports["onnx"].read_bytes()[:-5000])
    with pytest.raises(ValueError, match="model.onnx: cannot be opened by ONNX Runtime"):
        infer.main([f"--weights={damaged}", f"--save_dir={tmp_path}"])
    damaged.write_bytes(exports["onnx"].read_bytes()[:-1] + b"x")
    (tmp_path / "model.onnx.sha256").write_text(exports["onnx"].with_name("model.onnx.sha256").read_text())
    with pytest.raises(ValueError, match="model.onnx"):
        infer.main([f"--weights={damaged}", f"--save_dir={tmp_path}"])


@pytest.mark.parametrize("text", [
    b"\xff", b"[" * 100_000, b"[]", b"{}", b"1" * 5000, b'{"class_names": [1]}',
])  # fmt: skip
def test_a_damaged_card_is_told_in_one_line(exports, tmp_path, text):
    (tmp_path / "export.json").write_bytes(text)
    with pytest.raises(ValueError, match=f"{tmp_path}: damaged description: .*; export the model again"):
        read_card(tmp_path)
    card = json.loads((exports["paddle"] / "export.json").read_text(encoding="utf-8"))
    assert read_card(exports["paddle"])._asdict() == card
    for change in (
        {"num_classes": "3"},
        {"class_names": "abc"},
        {"clip_shape": None},
        {"config": 3},
        {"more": 1},
        {"probe_picture": "x"},
    ):
        (tmp_path / "export.json").write_text(json.dumps({**card, **change}))
        with pytest.raises(ValueError, match="it has not the entries it should"):
            read_card(tmp_path)


def test_onnx_is_written_without_installing_anything_and_the_same_in_every_folder(exports, tmp_path, monkeypatch):
    """paddle2onnx 2 lets Polygraphy run pip for what it misses."""

    def refuse(*arguments: object, **options: object) -> None:
        raise AssertionError(f"a program is started: {arguments}")

    onnx = pytest.importorskip("onnx")
    monkeypatch.setattr(subprocess.Popen, "__init__", refuse)
    monkeypatch.setitem(sys.modules, "onnx_graphsurgeon", None)
    contents = []
    for name in ("plain", "with a space"):
        folder = tmp_path / name / "folder"
        shutil.copytree(exports["paddle"], folder)
        exporting.convert_to_onnx(folder, tmp_path / name / "model.onnx")
        graph = onnx.load(tmp_path / name / "model.onnx").graph  # names have numbers that go on within a process
        nodes, weights = [node.op_type for node in graph.node], [one.raw_data for one in graph.initializer]
        contents.append((nodes, weights))
    assert contents[0] == contents[1]
    assert not any(name.startswith("polygraphy") for name in sys.modules)


def test_an_older_export_is_probed_by_the_picture_of_its_time(exports, tmp_path):
    card, engine = read_card(exports["paddle"]), open_exported(exports["paddle"], Running(1))
    assert card.probe_picture == "noise"
    older = card._replace(probe_picture="slopes")
    older = older._replace(probe=exported.probe(engine, older))
    assert not np.allclose(older.probe, card.probe)
    folder = tmp_path / "older"
    shutil.copytree(exports["paddle"], folder, ignore=shutil.ignore_patterns(checksums.FOLDER_SUMS))
    fields = {name: value for name, value in older._asdict().items() if name != "probe_picture"}
    (folder / CARD_FILE).write_text(json.dumps(fields), encoding="utf-8")
    open_exported(folder, Running(1))
    (folder / CARD_FILE).write_text(json.dumps(fields | {"probe_picture": "noise"}), encoding="utf-8")
    with pytest.raises(ValueError, match="computes something else"):
        open_exported(folder, Running(1))


def test_paddle_2_does_not_crash_on_what_paddle_3_wrote(exports, tmp_path, monkeypatch):
    folder = tmp_path / "exported"
    folder.mkdir()
    (folder / "export.json").write_text((exports["paddle"] / "export.json").read_text(encoding="utf-8"))
    (folder / "model.json").write_text("{}")
    monkeypatch.setattr(paddle, "__version__", "2.6.2")
    with pytest.raises(ValueError, match=r"was exported by Paddle .*, which Paddle 2.6.2 cannot read; export it with"):
        open_exported(folder, Running(1))


def test_without_onnx_the_line_says_what_to_install(weights, flags, tmp_path, monkeypatch):
    find_spec = importlib.util.find_spec
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if "onnx" in name else find_spec(name))
    with pytest.raises(ValueError, match="ONNX needs paddle2onnx, onnx, onnxruntime: pip install -r requirements-onnx"):
        export.main([*flags, f"--weights={weights}", f"--save_dir={tmp_path}", "--format=onnx"])


def test_a_checkpoint_brings_its_own_config(exports, small_set):
    """So does an export; --config takes its place."""
    config = read_config(exports["paddle"], None, ["INFER.seg_num=5"], {})
    assert (config.model.num_classes, config.infer.target_size, config.infer.seg_num) == (NUM_CLASSES, SIDE, 5)
