"""Which engine classifies, and that all of them say what the weights say."""

import importlib.metadata
import importlib.util

import numpy as np
import paddle
import pytest

import common.startup  # noqa: F401
import infer
from common import processes
from conftest import NUM_CLASSES, SIDE, clip_reader, small_flags, write_random_weights
from datareader.loader import Loader
from datareader.records import read_list
from evaluation.predictions import Prediction
from inference import choice, exported
from inference.choice import EAGER, Wish, choose_engine, is_worth_converting
from inference.engines.engine import Classified
from inference.engines.onnx_runtime import OnnxRuntime
from inference.engines.openvino_runtime import OpenVino
from inference.exporting import versions_for
from inference.predict import predict
from inference.session import begin_session, open_session

ENGINES = [EAGER, *exported.ENGINES]


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """Random weights whose answers are not all the same."""
    return write_random_weights(tmp_path_factory.mktemp("weights"))


def said(flags: list[str]) -> list[Prediction]:
    """What infer.py says, classes in the order of their numbers."""
    predictions = infer.main(flags)
    return [one._replace(probabilities=one.probabilities[one.class_ids.argsort()]) for one in predictions]


@pytest.mark.parametrize("engine", ENGINES)
def test_every_engine_says_what_eager_paddle_says(engine, weights, small_set, tmp_path, caplog):
    flags = [*small_flags(small_set, INFER__seg_num=3), f"--weights={weights}", f"--save_dir={tmp_path}"]
    plain = said([*flags, "--engine=eager"])
    with caplog.at_level("INFO"):
        found = said([*flags, f"--engine={engine}"])
    title = "eager" if engine == EAGER else exported.ENGINES[engine].name
    assert any(title in line and "as asked for" in line for line in caplog.messages)
    for ours, theirs in zip(plain, found, strict=True):
        assert ours.path == theirs.path
        assert np.abs(ours.probabilities - theirs.probabilities).max() < 1e-5


def test_of_several_clips_each_request_has_a_part(weights, small_set):
    """With two streams; an odd number of clips, and one alone."""
    flags = small_flags(small_set)[1:]
    overrides = [flag for flag in flags if flag != "-o"]
    opening = begin_session(weights, "configs/tsn.yaml", overrides, wish=Wish("openvino"))
    session = opening.open(one_by_one=False)
    eager = begin_session(weights, "configs/tsn.yaml", overrides, wish=Wish(EAGER)).open()
    assert session.engine.in_flight == processes.threads_each() + 1
    assert opening.open(one_by_one=True).engine.in_flight == eager.engine.in_flight == 1
    batches = [paddle.randint(0, 256, [num_clips, 2, 3, SIDE, SIDE]).astype("uint8") for num_clips in (1, 2, 5, 1)]
    waiting = [session.engine.start(frames) for frames in batches]  # more than it wants, all at once
    for frames, wait in zip(batches, waiting, strict=True):
        ours, theirs = eager.engine(frames), wait()
        assert theirs.probabilities.shape == ours.probabilities.shape
        assert np.abs(ours.probabilities - theirs.probabilities).max() < 1e-5


@pytest.mark.parametrize("in_flight", [1, 2, 3, 100])
@pytest.mark.parametrize("batch_size", [1, 3])
def test_batches_in_flight_come_back_in_order_and_none_waits_for_more_than_it_should(in_flight, batch_size, small_set):
    """Seven videos, the third of which cannot be read."""
    events = []

    class Counting:
        def __init__(self):
            self.in_flight = in_flight

        def start(self, frames):
            events.append(("start", len(frames)))

            def wait():
                events.append(("wait", len(frames)))
                means = frames.numpy().mean(axis=(1, 2, 3, 4), dtype=np.float64)[:, None]
                return Classified(np.concatenate([means, 255 - means], axis=1), means)

            return wait

    records = [*read_list(small_set / "val.list", "mp4", NUM_CLASSES)]
    records[2] = records[2]._replace(path="nowhere.mp4")
    reader = clip_reader(records, short_size=SIDE + 8, target_size=SIDE)
    steps = list(predict(Counting(), Loader(reader, batch_size).epoch(0), reader, keep_features=True))
    found = [prediction for step in steps for prediction in step.predictions]
    assert [one.path for one in found] == [record.name for record in records]
    assert [one.problem != "" for one in found] == [number == 2 for number in range(7)]
    clip = np.empty(reader.clip_shape, np.uint8)
    for number in (0, 3, 6):
        reader.read(0, number, clip)
        assert found[number].features == pytest.approx([clip.mean(dtype=np.float64)])
    under_way, most = 0, 0
    for what, num_clips in events:
        under_way += num_clips if what == "start" else -num_clips
        most = max(most, under_way)
    assert most <= max(in_flight, batch_size) + batch_size - 1 and under_way == 0
    assert most >= min(in_flight, 2)


@pytest.mark.parametrize(
    ("num_videos", "gmacs", "is_worth"), [(1, 299, False), (1, 300, True), (24, 12.26, False), (25, 12.26, True),
                                          (None, 0.1, False), (None, 12.26, True)]
)  # fmt: skip
def test_a_short_job_is_not_worth_a_conversion(num_videos, gmacs, is_worth):
    assert is_worth_converting(num_videos, gmacs) is is_worth


def test_auto_stays_eager_for_a_few_small_clips_and_says_why(weights, small_set, tmp_path, caplog):
    with caplog.at_level("INFO"):
        infer.main([*small_flags(small_set), f"--weights={weights}", f"--save_dir={tmp_path}"])
    assert "eager" in caplog.text and "converting it for OpenVINO would take longer than it saves here" in caplog.text


def test_auto_converts_for_a_long_job_and_then_takes_what_is_there(weights, small_set, tmp_path, caplog, monkeypatch):
    flags = [*small_flags(small_set), f"--weights={weights}", f"--save_dir={tmp_path}"]
    monkeypatch.setattr(choice, "GMACS_WORTH_CONVERTING", 0)
    with caplog.at_level("INFO"):
        first = said(flags)
    assert "converting the model for OpenVINO, once" in caplog.text and "the fastest here" in caplog.text
    monkeypatch.setattr(choice, "GMACS_WORTH_CONVERTING", 300)
    caplog.clear()
    with caplog.at_level("INFO"):
        second = said(flags)
    assert "converting" not in caplog.text and "OpenVINO" in caplog.text and "tensors matched" not in caplog.text
    assert all(np.array_equal(one.probabilities, two.probabilities) for one, two in zip(first, second, strict=True))


@pytest.mark.parametrize(
    ("missing", "engine"),
    [((), "openvino"), (("openvino",), "onnxruntime"), (("openvino", "onnxruntime"), "paddle"), (("onnx",), "paddle")],
)
def test_auto_takes_the_fastest_that_is_installed(missing, engine, monkeypatch):
    hide(monkeypatch, *missing)
    found = choose_engine(Wish(), on_gpu=False, needs_layers=False)
    assert found.engine == engine
    assert ("requirements-openvino.txt brings a faster one" in found.reason) == (engine != "openvino")


def hide(monkeypatch: pytest.MonkeyPatch, *packages: str) -> None:
    find_spec = importlib.util.find_spec
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name in packages else find_spec(name))


@pytest.mark.parametrize(
    ("wish", "on_gpu", "needs_layers", "message"),
    [
        (
            Wish("eager", "bf16"),
            False,
            False,
            "--engine=eager does not compute bf16; --engine=openvino or",
        ),
        (Wish("onnxruntime", "bf16"), False, False, "--engine=onnxruntime does not compute bf16"),
        (
            Wish("paddle", "int8"),
            False,
            False,
            "--engine=paddle does not compute int8; --engine=openvino or",
        ),
        (Wish("openvino"), False, True, "heat maps need the model's layers: leave out --engine and --precision"),
        (Wish(precision="bf16"), True, False, "--precision=bf16 is for CPUs here; leave it out, or --use_gpu=False"),
    ],
)
def test_wishes_that_do_not_go_together_are_refused(wish, on_gpu, needs_layers, message):
    with pytest.raises(ValueError, match=message):
        choose_engine(wish, on_gpu=on_gpu, needs_layers=needs_layers)


def test_what_is_not_installed_is_told_in_one_line(monkeypatch):
    hide(monkeypatch, "openvino", "onnxruntime", "paddle2onnx")
    with pytest.raises(ValueError, match="--engine=openvino needs paddle2onnx, openvino: pip install -r req"):
        choose_engine(Wish("openvino"), on_gpu=False, needs_layers=False)
    with pytest.raises(ValueError, match="--precision=int8 needs OpenVINO: pip install -r requirements-openvino.txt"):
        choose_engine(Wish(precision="int8"), on_gpu=False, needs_layers=False)


def test_on_a_gpu_and_for_heat_maps_paddle_stays_eager():
    assert choose_engine(Wish(), on_gpu=True, needs_layers=False).engine == EAGER
    assert choose_engine(Wish(), on_gpu=False, needs_layers=True).engine == EAGER


def test_an_engine_that_computes_something_else_is_refused(weights, small_set, tmp_path, monkeypatch):
    """As ONNX Runtime 1.23.1 does with int8 on AMX."""
    flags = [*small_flags(small_set), f"--weights={weights}", f"--save_dir={tmp_path}", "--engine=openvino"]
    infer.main(flags)  # converts

    class Wrong(OpenVino):
        def __call__(self, frames):
            found = super().__call__(frames)
            return found._replace(features=found.features[:, ::-1])

    monkeypatch.setitem(exported.ENGINES, "openvino", Wrong)
    with pytest.raises(ValueError, match="computes something else on this processor than it should"):
        infer.main(flags)


def test_a_model_that_cannot_be_used_leaves_auto_with_the_weights(weights, small_set, tmp_path, monkeypatch, caplog):
    class Broken(OpenVino):
        def __init__(self, folder, running):
            raise ValueError(f"{folder}: cannot be opened by OpenVINO: no such luck")

    monkeypatch.setitem(exported.ENGINES, "openvino", Broken)
    monkeypatch.setattr(choice, "GMACS_WORTH_CONVERTING", 0)
    flags = [*small_flags(small_set), f"--weights={weights}", f"--save_dir={tmp_path}"]
    assert len(infer.main(flags)) == 7
    assert "no such luck" in caplog.text
    with pytest.raises(ValueError, match="no such luck"):
        infer.main([*flags, "--engine=openvino"])


def test_onnx_runtime_uses_a_gpu_without_a_paddle_for_gpus(weights, small_set, monkeypatch):
    """The machine has none: a stand-in tells what ONNX Runtime is asked for."""
    import onnxruntime

    asked = []

    class Session:
        def __init__(self, path, options, providers):
            asked.append(providers)
            self._session = real(path, options, providers=["CPUExecutionProvider"])

        def get_providers(self):
            return [name if isinstance(name, str) else name[0] for name in asked[-1]]

        def __getattr__(self, name):
            return getattr(self._session, name)

    real = onnxruntime.InferenceSession
    overrides = [flag for flag in small_flags(small_set)[1:] if flag != "-o"] + ["TRAIN.use_gpu=True"]
    with pytest.raises(ValueError, match="this ONNX Runtime has no CUDA; pip install onnxruntime-gpu, or --use_gpu"):
        open_session(weights, "configs/tsn.yaml", overrides, engine="onnxruntime")
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CUDAExecutionProvider"])
    monkeypatch.setattr(onnxruntime, "InferenceSession", Session)
    session = open_session(weights, "configs/tsn.yaml", overrides, engine="onnxruntime")
    assert ("CUDAExecutionProvider", {"device_id": 0}) in asked[-1] and session.engine.title.endswith("GPU")
    assert paddle.device.get_device() == "cpu"
    assert OnnxRuntime.has_cuda()


def test_the_build_for_gpus_counts_as_the_package(monkeypatch):
    version = importlib.metadata.version

    def only_for_gpus(name):
        if name == "onnxruntime":
            raise importlib.metadata.PackageNotFoundError(name)
        return "1.22.0" if name == "onnxruntime-gpu" else version(name)

    monkeypatch.setattr(importlib.metadata, "version", only_for_gpus)
    assert versions_for("onnx", "float32")["onnxruntime"] == "1.22.0"


@pytest.mark.parametrize(("users", "threads"), [("", 8), ("3", 3), ("0", 8), ("many", 8)])
def test_an_engine_has_all_cores_unless_the_user_says_otherwise(users, threads, monkeypatch):
    monkeypatch.setattr(processes, "USERS_THREADS", users)
    monkeypatch.setattr(processes, "cores_each", lambda: 8)
    assert processes.threads_each() == threads
