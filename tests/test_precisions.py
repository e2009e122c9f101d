"""bf16 and int8: what they cost is printed, what costs too much is refused, and what says something else too."""

import contextlib
import ctypes
import io
import json
import re
import signal
import sys

import numpy as np
import paddle
import pytest

import common.startup  # noqa: F401
import export
import infer
import test as test_verb
import train
from conftest import NUM_CLASSES, small_flags
from inference import comparing, exported
from inference.engines.engine import Classified, Running
from inference.engines.openvino_runtime import OpenVino
from inference.exported import open_exported, read_card

INT8_FORMATS = ["openvino", "onnx"]


@pytest.fixture(scope="module")
def flags(small_set):
    return small_flags(small_set, INFER__seg_num=3, TRAIN__epoch=3, TRAIN__learning_rate=0.01)


@pytest.fixture(scope="module")
def weights(flags, tmp_path_factory):
    """Of a short training: with random weights rounding would change the best class at will."""
    folder = tmp_path_factory.mktemp("run")
    train.main([*flags, f"--save_dir={folder}", "--pretrain=none", "--valid_interval=0"])
    return folder / "TSN_epoch2"


@pytest.fixture(scope="module")
def int8_exports(weights, flags, small_set, tmp_path_factory):
    """Each format's export, and what was printed; OpenVINO's is compared on a list with labels."""
    folder, found = tmp_path_factory.mktemp("int8"), {}
    compared = [f"--compare={small_set / 'val.list'}", f"--calibration={small_set / 'train.list'}"]
    for name in INT8_FORMATS:
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            target = export.main([
                *flags, f"--weights={weights}", f"--save_dir={folder / name}", f"--format={name}", "--precision=int8",
                "--max_loss=100", *(compared if name == "openvino" else []),
            ])  # fmt: skip
        found[name] = target, printed.getvalue()
    return found


@pytest.mark.parametrize("name", INT8_FORMATS)
def test_an_int8_export_is_smaller_and_says_nearly_the_same(name, int8_exports, weights, flags, small_set, tmp_path):
    target, _ = int8_exports[name]
    files = target.rglob("*") if name == "openvino" else [target]
    assert sum(file.stat().st_size for file in files) < 0.3 * (weights / "model.pdparams").stat().st_size
    assert read_card(target).precision == "int8"
    plain = infer.main([*flags, f"--weights={weights}", f"--save_dir={tmp_path}", "--engine=eager"])
    found = infer.main([f"--weights={target}", f"--save_dir={tmp_path}"])
    differences = [
        np.abs(ours.probabilities[ours.class_ids.argsort()] - theirs.probabilities[theirs.class_ids.argsort()]).max()
        for ours, theirs in zip(plain, found, strict=True)
    ]
    assert 0 < max(differences) < 0.2
    settings = json.loads((tmp_path / "TSN_infer_result.settings.json").read_text())
    assert settings["precision"] == "int8"


@pytest.mark.parametrize("name", INT8_FORMATS)
def test_an_int8_export_runs_in_nothing_else(name, int8_exports, tmp_path):
    with pytest.raises(ValueError, match="computes in int8, not float32; export the model so"):
        infer.main([f"--weights={int8_exports[name][0]}", f"--save_dir={tmp_path}", "--precision=float32"])


def test_the_table_tells_what_each_precision_costs(int8_exports, flags):
    target, printed = int8_exports["openvino"]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in printed.splitlines() if line[:1] == "|"]
    assert rows[0] == ["precision", "top-1", "largest difference", "mean difference", "same best class", "size",
                       "clips/s"]  # fmt: skip
    by_precision = {row[0]: row for row in rows[2:]}
    assert list(by_precision) == (["float32", "bf16", "int8"] if OpenVino.has_bf16() else ["float32", "int8"])
    assert by_precision["float32"][2:5] == ["0.0e+00", "0.0e+00", "100.00%"]
    assert 0 < float(by_precision["int8"][2]) < 0.2 and 0 < float(by_precision["int8"][3]) < 0.1
    summary = test_verb.main([*flags, f"--weights={target}", "--engine=openvino"])
    assert float(by_precision["int8"][1]) == pytest.approx(summary.scores["top1"], abs=5e-5)
    assert "calibrating on 12 clips" in printed and "warning" in printed  # too few of them


def test_what_loses_too_much_is_refused_and_leaves_nothing(weights, flags, small_set, tmp_path, monkeypatch):
    class Guessing(OpenVino):
        def __call__(self, frames):
            found = super().__call__(frames)
            return found._replace(probabilities=np.roll(found.probabilities, "int8" in self.title, axis=1))

    monkeypatch.setitem(exported.ENGINES, "openvino", Guessing)
    with pytest.raises(ValueError, match="in int8 100.00 % of the clips get another best class, more than --max"):
        export.main([
            *flags, f"--weights={weights}", f"--save_dir={tmp_path / 'out'}", "--format=openvino", "--precision=int8",
            f"--compare={small_set / 'infer.list'}",
        ])  # fmt: skip
    assert list((tmp_path / "out").iterdir()) == []


def row(precision: str, top1: float | None, agreement: float = 1.0) -> comparing.Row:
    return comparing.Row(precision, top1, 0.1, 0.1, agreement, 1, 1.0)


@pytest.mark.parametrize(("rows", "loss"), [
    ([row("float32", 0.9), row("int8", 0.895)], None),
    ([row("float32", 0.9), row("int8", 0.95)], None),
    ([row("float32", 0.9), row("int8", 0.88)], "2.00 points of top-1 are lost"),
    ([row("float32", None), row("int8", None, 0.97)], "3.00 % of the clips get another best class"),
    ([row("float32", None), row("int8", None, 0.995)], None),
    ([row("float32", 0.9), row("int8", float("nan"))], "nan points of top-1"),
])  # fmt: skip
def test_points_of_top1_are_counted(rows, loss, tmp_path):
    if loss is None:
        comparing.check_loss(rows, 1.0, tmp_path)
    else:
        with pytest.raises(ValueError, match=re.escape(loss)):
            comparing.check_loss(rows, 1.0, tmp_path)


def test_the_rows_of_the_table_by_hand():
    """Four clips of two classes; the third gets another best class."""
    first = np.array([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4], [0.7, 0.3]], np.float32)
    second = np.array([[0.8, 0.2], [0.2, 0.8], [0.4, 0.6], [0.7, 0.3]], np.float32)

    def engine(said: np.ndarray):
        rows = iter([said[:1], said])  # a warm-up, then all at once
        return lambda frames: Classified(next(rows), np.zeros((len(frames), 1), np.float32))

    samples = comparing.Samples(["a"] * 4, [np.zeros((1, 1, 3, 2, 2), np.uint8)] * 4, [(0,), (1,), (0,), None])
    contenders = [comparing.Contender("float32", engine(first), 10), comparing.Contender("int8", engine(second), 5)]
    ours, theirs = comparing.compare_precisions(contenders, samples)
    assert (ours.top1, ours.max_difference, ours.agreement) == (1.0, 0.0, 1.0)
    assert theirs.top1 == pytest.approx(2 / 3) and theirs.agreement == 0.75 and theirs.num_bytes == 5
    assert theirs.max_difference == pytest.approx(0.2) and theirs.mean_difference == pytest.approx(0.6 / 8)


@pytest.mark.parametrize("engine", ["openvino", "paddle"])
def test_bf16_rounds_or_is_refused(engine, weights, flags, tmp_path):
    command = [*flags, f"--weights={weights}", f"--save_dir={tmp_path}", f"--engine={engine}", "--precision=bf16"]
    if not exported.ENGINES[engine].has_bf16():
        with pytest.raises(ValueError, match="this processor computes no bf16; use --precision=float32"):
            infer.main(command)
        return
    plain = infer.main([*flags, f"--weights={weights}", f"--save_dir={tmp_path}", "--engine=eager"])
    found = infer.main(command)
    for ours, theirs in zip(plain, found, strict=True):
        assert ours.class_ids[0] == theirs.class_ids[0]
        assert ours.probabilities == pytest.approx(theirs.probabilities, abs=0.03)
    assert any((ours.probabilities != theirs.probabilities).any() for ours, theirs in zip(plain, found, strict=True))


def test_int8_from_weights_is_calibrated_once(weights, flags, small_set, tmp_path, caplog):
    command = [*flags, f"--weights={weights}", f"--save_dir={tmp_path}", "--precision=int8"]
    with caplog.at_level("INFO"):
        first = infer.main(command)
        assert "converting the model for OpenVINO, once" in caplog.text
        assert re.search(r"int8 beside float32 on 12 clips: the same best class for \d+ %, largest diff", caplog.text)
        caplog.clear()
        second = infer.main(command)
    assert "converting" not in caplog.text and "best class" not in caplog.text
    assert all(np.array_equal(one.probabilities, two.probabilities) for one, two in zip(first, second, strict=True))


def test_int8_without_clips_to_calibrate_on_is_refused(weights, flags, tmp_path):
    command = [*flags, "-o", "TRAIN.filelist=nowhere.list", f"--weights={weights}", "--precision=int8"]
    with pytest.raises(ValueError, match="int8 is calibrated on training clips, but nowhere.list is no file"):
        infer.main([*command, f"--save_dir={tmp_path}"])
    with pytest.raises(ValueError, match="name a list by --calibration"):
        export.main([*command, f"--save_dir={tmp_path / 'out'}", "--format=onnx"])


@pytest.mark.parametrize(("name", "precision", "message"), [
    ("paddle", "int8", "int8 is for --format=onnx and --format=openvino, not paddle"),
    ("onnx", "bf16", "ONNX Runtime computes no bf16; take --format=openvino or paddle"),
])  # fmt: skip
def test_what_a_format_cannot_be_is_told(name, precision, message, weights, flags, tmp_path):
    with pytest.raises(ValueError, match=message):
        export.main([*flags, f"--weights={weights}", f"--save_dir={tmp_path}", f"--format={name}",
                     f"--precision={precision}"])  # fmt: skip


def test_a_bf16_export_is_run_in_bf16_unless_told_otherwise(weights, flags, tmp_path):
    if not OpenVino.has_bf16():
        pytest.skip("this processor computes no bf16")
    target = export.main([*flags, f"--weights={weights}", f"--save_dir={tmp_path}", "--format=openvino",
                          "--precision=bf16", "--max_loss=50"])  # fmt: skip
    assert read_card(target).precision == "bf16"
    frames = paddle.randint(0, 256, [2, 3, 3, 32, 32]).astype("uint8")
    exact, rounded = (open_exported(target, Running(1, precision=name))(frames) for name in ("float32", "bf16"))
    assert 0 < np.abs(exact.probabilities - rounded.probabilities).max() < 0.1
    assert exact.probabilities.shape == (2, NUM_CLASSES)


class Stack(ctypes.Structure):
    _fields_ = [("sp", ctypes.c_void_p), ("flags", ctypes.c_int), ("size", ctypes.c_size_t)]


def signal_stack() -> tuple:
    found = Stack()
    ctypes.CDLL(None).sigaltstack(None, ctypes.byref(found))
    return found.sp, found.flags, found.size


@pytest.mark.skipif(sys.platform != "linux", reason="the stack for signals is asked of Linux")
def test_engines_that_come_and_go_leave_the_stack_for_signals_alone(int8_exports):
    """On AMX each core of OpenVINO changes it, and the next signal after the last has gone kills the process."""
    open_exported(
        int8_exports["openvino"][0], Running(1, precision="int8")
    )  # the core of the process, if it is the first
    before = signal_stack()
    engines = [open_exported(int8_exports["openvino"][0], Running(1, precision="int8")) for _ in range(3)]
    del engines[0], engines[0], engines[0]
    assert signal_stack() == before
    noticed = []
    old = signal.signal(signal.SIGUSR1, lambda *_: noticed.append(True))
    signal.raise_signal(signal.SIGUSR1)
    signal.signal(signal.SIGUSR1, old)
    assert noticed
