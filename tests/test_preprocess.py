"""preprocess.py, which lies beside each export, sees what infer.py sees, without Paddle and without the project."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import export
import infer
from conftest import SMALL_MODEL, clip_reader, grey_frames, write_random_weights, write_video
from datareader.records import Record
from datareader.transforms import CROPS
from inference import exporting, preprocess, recipe
from inference.exported import read_card
from kinds import KINDS

SIDE = 64
FLAGS = [*SMALL_MODEL, "-o", "INFER.seg_num=3", "-o", "INFER.short_size=72", "-o", f"INFER.target_size={SIDE}"]
FLAGS += ["-o", "INFER.num_reader_threads=0"]

ALONE = """
import json, sys
sys.modules["paddle"] = None
sys.path.append(sys.argv[1])
import preprocess
card, classify = preprocess.card_of(sys.argv[2]), preprocess.open_model(sys.argv[2])
for path in sys.argv[3:]:
    try:
        print(json.dumps(classify(preprocess.frames_of(path, card)).mean(axis=0).tolist()))
    except ValueError as error:
        print(json.dumps(str(error)))
assert not any(name.split(".")[0] in ("datareader", "inference", "common", "config") for name in sys.modules)
"""
"""Prints the probabilities that an export's own preprocess.py leads to, or its error, for each video."""


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> Path:
    """Random weights whose answers differ from video to video."""
    return write_random_weights(tmp_path_factory.mktemp("weights"), SIDE)


@pytest.fixture(scope="module")
def model(weights, tmp_path_factory) -> Path:
    save_dir = tmp_path_factory.mktemp("an export")
    return export.main([*FLAGS, f"--weights={weights}", f"--save_dir={save_dir}", "--format=onnx"])


def run_alone(*words: object) -> subprocess.CompletedProcess:
    """Python with the given words, from another folder and with nothing of this project on its path."""
    return subprocess.run([sys.executable, "-I", *map(str, words)], cwd="/", capture_output=True, text=True)


def test_without_paddle_the_answers_are_those_of_infer(model, weights, clips, tmp_path):
    videos = sorted((clips / "formats").iterdir())
    infer.main([*FLAGS, f"--weights={weights}", f"--save_dir={tmp_path}", "--video", *map(str, videos)])
    done = run_alone("-c", ALONE, model.parent, model, *videos)
    assert done.returncode == 0, done.stderr
    theirs = [json.loads(line) for line in (tmp_path / "TSN_infer_result.jsonl").read_text().splitlines()]
    ours = [json.loads(line) for line in done.stdout.splitlines()]
    readable = []
    for video, said, found in zip(videos, theirs, ours, strict=True):
        assert Path(said["path"]) == video
        if said.get("problem"):
            assert isinstance(found, str) and found.startswith(f"{video}: "), found
        else:
            readable.append(np.array(said["probabilities"])[np.argsort(said["class_ids"])])
            assert np.abs(readable[-1] - found).max() < 1e-5, video
    assert len(readable) == len(videos) - 1, "all but the one that holds only sound"
    assert np.ptp(readable, axis=0).max() > 0.05, "other videos have other answers"


VIDEOS = {
    "1 frame": lambda folder: write_video(folder / "x.mp4", grey_frames(1)),
    "2 frames": lambda folder: write_video(folder / "x.mp4", grey_frames(2)),
    "19 frames": lambda folder: write_video(folder / "x.avi", grey_frames(19, 65, 97), "mpeg4"),
    "upright": lambda folder: write_video(folder / "x.mp4", grey_frames(12, 96, 64)),
    "square": lambda folder: write_video(folder / "x.mp4", grey_frames(12, 64, 64)),
    "of the short size": lambda folder: write_video(folder / "x.mp4", grey_frames(12, 44, 98)),
    **{name: make for name, make in KINDS.items() if name.startswith(("display matrix", "mp4: edit list"))},
    "H.264, open groups": KINDS["H.264 in Matroska: open groups"],
    "VP9, hidden frames": KINDS["VP8, VP9, AV1: VP9, hidden frames, mkv"],
    "MPEG-2, fields": KINDS["other codecs: MPEG-2, interlaced, mkv"],
}
RECIPES = {
    "center": {},
    "seglen 2": {"seglen": 2},
    "two clips": {"num_clips": 2, "seglen": 3},
    "three crops": {"crop": "three", "target_size": 33},
    "ten crops": {"crop": "ten", "num_clips": 2},
    "shape kept": {"resize": "keep", "crop": "three"},
}


@pytest.mark.parametrize("kind", VIDEOS)
def test_frames_are_those_of_the_reader_to_the_bit(kind, tmp_path):
    path = VIDEOS[kind](tmp_path)
    for name, settings in RECIPES.items():
        settings = {"seg_num": 4, "short_size": 44, "target_size": 35, **settings}
        reader = clip_reader([Record(str(path), 0, "x")], **settings)
        clip = np.empty(reader.clip_shape, np.uint8)
        assert reader.read(0, 0, clip).is_readable
        card = {"preprocessing": recipe.preprocessing_of(reader.sampling, reader.views)}
        frames = preprocess.frames_of(path, card)
        assert frames.shape[:2] == (reader.num_views, reader.sampling.frames_per_clip), name
        assert frames.dtype == np.uint8 and np.array_equal(frames.reshape(clip.shape), clip), name


def test_a_file_that_breaks_off_is_read_as_far_as_the_reader_reads_it(tmp_path):
    whole = KINDS["H.264 in transport stream: plain"](tmp_path).read_bytes()
    for share in (0.3, 0.6, 0.9):
        path = tmp_path / f"{share}.ts"
        path.write_bytes(whole[: int(share * len(whole))])
        reader = clip_reader([Record(str(path), 0, "x")], seg_num=5, short_size=40, target_size=32)
        clip = np.empty(reader.clip_shape, np.uint8)
        assert reader.read(0, 0, clip).is_readable
        card = {"preprocessing": recipe.preprocessing_of(reader.sampling, reader.views)}
        assert np.array_equal(preprocess.frames_of(path, card)[0], clip)


def test_what_cannot_be_read_is_told_in_one_line(tmp_path):
    reader = clip_reader([], seg_num=5)
    card = {"preprocessing": recipe.preprocessing_of(reader.sampling, reader.views)}
    parts = [write_video(tmp_path / f"{side}.h264", grey_frames(5, side, side)).read_bytes() for side in (32, 64)]
    (tmp_path / "sizes.h264").write_bytes(b"".join(parts))
    (tmp_path / "text.mp4").write_text("no video")
    for name, reason in {
        "sizes.h264": "its frames change size: 32x32, 64x64",
        "text.mp4": "damaged or no video: Invalid data found when processing input",
        "absent.mp4": "no such file",
    }.items():
        with pytest.raises(ValueError, match=f"^{tmp_path / name}: {reason}$"):
            preprocess.frames_of(tmp_path / name, card)


def test_a_narrow_frame_that_cannot_keep_its_shape_is_refused(tmp_path):
    path = write_video(tmp_path / "x.avi", grey_frames(2, 2, 1024), "ffv1")
    reader = clip_reader([Record(str(path), 0, "x")], short_size=512, target_size=32, resize="keep")
    refused = reader.read(0, 0, np.empty(reader.clip_shape, np.uint8))
    assert "its frames of 1024x2 are too narrow to be enlarged to a short side of 512" in refused.unreadable[0][1]
    card = {"preprocessing": recipe.preprocessing_of(reader.sampling, reader.views)}
    with pytest.raises(ValueError, match=f"^{path}: its frames of 1024x2 are too narrow to be enlarged to a short"):
        preprocess.frames_of(path, card)


def test_a_card_that_says_nothing_of_it_means_the_original_way_to_resize(tmp_path):
    path = write_video(tmp_path / "x.mp4", grey_frames(5, 64, 128))
    reader = clip_reader([Record(str(path), 0, "x")], short_size=40, target_size=32)
    card = {"preprocessing": recipe.preprocessing_of(reader.sampling, reader.views)}
    frames = preprocess.frames_of(path, card)
    del card["preprocessing"]["resize_mode"]
    assert np.array_equal(preprocess.frames_of(path, card), frames)
    card["preprocessing"]["resize_mode"] = "crop"
    with pytest.raises(ValueError, match="unknown resize_mode 'crop'; the known ones are stretch and keep"):
        preprocess.frames_of(path, card)


def test_the_command_prints_the_best_classes(model, tmp_path):
    video = write_video(tmp_path / "x.mp4", grey_frames(12))
    done = run_alone(model.parent / "preprocess.py", model, video)
    assert done.returncode == 0 and done.stdout.startswith(f"{video}: "), done.stderr
    assert sum(float(part.split()[-1]) for part in done.stdout.split(",")) == pytest.approx(1, abs=1e-3)
    done = run_alone(model.parent / "preprocess.py", model, tmp_path / "absent.mp4")
    assert (done.returncode, done.stderr) == (1, f"error: {tmp_path / 'absent.mp4'}: no such file\n")


def test_openvino_runs_it_too(model, tmp_path):
    openvino = pytest.importorskip("openvino")
    openvino.save_model(openvino.convert_model(model), tmp_path / "model.xml", compress_to_fp16=False)
    (tmp_path / "export.json").write_text(json.dumps(preprocess.card_of(model)))
    assert preprocess.card_of(tmp_path / "model.xml") == preprocess.card_of(tmp_path) == preprocess.card_of(model)
    frames = np.random.default_rng(0).integers(0, 256, (2, 3, 3, SIDE, SIDE)).astype(np.uint8)
    ours, theirs = (preprocess.open_model(path)(frames) for path in (tmp_path / "model.xml", model))
    assert np.abs(ours - theirs).max() < 1e-5


def test_the_card_has_numbers_and_words_for_every_crop(model):
    card = read_card(model)
    assert preprocess.card_of(model) == card._asdict()
    numbers = {"seg_num": 3, "seglen": 1, "num_clips": 1, "crop": "center", "short_size": 72, "target_size": SIDE}
    assert numbers.items() <= card.preprocessing.items()
    assert recipe.PLACES.keys() == CROPS.keys()
    for crop in CROPS:
        places = preprocess.crops(crop, 85, 64, 35)
        assert [(view.left_px, view.top_px, view.mirrored) for view in CROPS[crop](85, 64, 35)] == places


def test_an_export_of_before_is_read_but_does_not_say_how_its_frames_are_made(model, tmp_path):
    card = preprocess.card_of(model)
    del card["preprocessing"]
    (tmp_path / "export.json").write_text(json.dumps(card))
    assert read_card(tmp_path).preprocessing is None
    with pytest.raises(ValueError, match="does not say how its frames are made; export it again"):
        preprocess.card_of(tmp_path)


def test_a_file_of_that_name_which_is_another_is_left_alone(weights, tmp_path):
    (tmp_path / "preprocess.py").write_text("mine")
    with pytest.raises(FileExistsError, match="preprocess.py: is not the file that goes beside the model; remove it"):
        export.main([*FLAGS, f"--weights={weights}", f"--save_dir={tmp_path}", "--format=onnx"])
    assert os.listdir(tmp_path) == ["preprocess.py"]


def test_without_its_program_there_is_no_export(weights, tmp_path, monkeypatch):
    def full(source, target):
        raise OSError("No space left on device")

    monkeypatch.setattr(exporting.shutil, "copyfile", full)
    with pytest.raises(OSError, match="No space left"):
        export.main([*FLAGS, f"--weights={weights}", f"--save_dir={tmp_path}"])
    assert not list(tmp_path.iterdir())
