"""infer.py's inputs and outputs; the documented command itself is in test_commands.py."""

import csv
import json
import os
import pickle
import signal
import socketserver
import subprocess
import sys
import threading
import time

import av
import numpy as np
import paddle
import pytest

import common.startup  # noqa: F401
import infer
from conftest import NUM_CLASSES, class_frames, small_flags, write_video
from distributed.signals import StopRequest, lines_until_stopped
from evaluation.files import OutputNames
from models.registry import create_model

NAMES = ["red", "green", "blue"]


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    paddle.seed(1)
    model = create_model("TSN", num_classes=NUM_CLASSES, num_layers=18)
    path = tmp_path_factory.mktemp("weights") / "small.pdparams"
    paddle.save(model.state_dict(), str(path))
    return path


@pytest.fixture(scope="module")
def flags(small_set, weights, tmp_path_factory):
    labels = tmp_path_factory.mktemp("labels") / "labels.txt"
    labels.write_text("\n".join(NAMES))
    return [*small_flags(small_set), "-o", f"MODEL.label_file={labels}", f"--weights={weights}"]


def rows_of(folder) -> list[dict]:
    return [json.loads(line) for line in (folder / "TSN_infer_result.jsonl").read_text().splitlines()]


def test_files_and_folders_in_order_with_names_in_every_output(flags, small_set, tmp_path):
    (tmp_path / "cut.mp4").write_bytes(b"no video")
    (tmp_path / "notes.txt").write_text("no video either, and not named as one")
    videos = [str(small_set / "val" / "class 1" / "1.mp4"), str(tmp_path), str(small_set / "val" / "class 0")]
    infer.main([*flags, f"--save_dir={tmp_path / 'out'}", "--video", *videos])
    expected = [
        videos[0],
        str(tmp_path / "cut.mp4"),
        *(str(path) for path in sorted((small_set / "val/class 0").iterdir())),
    ]
    results = pickle.loads((tmp_path / "out" / "TSN_infer_result").read_bytes())
    rows = rows_of(tmp_path / "out")
    with (tmp_path / "out" / "TSN_infer_result.csv").open(newline="") as file:
        cells = list(csv.DictReader(file))
    assert (
        [entry[0] for entry in results] == [row["path"] for row in rows] == [cell["path"] for cell in cells] == expected
    )
    assert results[1] == (expected[1], [], []) and rows[1]["problem"] == cells[1]["problem"] != ""
    for entry, row, cell in zip(results, rows, cells, strict=True):
        assert (row["video_id"], row["probabilities"], row["class_ids"]) == entry
        assert row["class_names"] == [NAMES[class_id] for class_id in entry[2]]
        if entry[2]:
            assert (cell["class_name_1"], float(cell["probability_1"])) == (NAMES[entry[2][0]], entry[1][0])
            assert (cell["class_id_3"], cell["class_name_4"]) == (str(entry[2][2]), "")


def test_pictures_and_features_of_every_video(flags, small_set, tmp_path):
    videos = [str(small_set / "val" / "class 1" / "1.mp4"), str(small_set / "val" / "class 1" / "4.mp4")]
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(b"no video")
    results = infer.main([
        *flags, f"--save_dir={tmp_path}", f"--overlay={tmp_path / 'overlay'}", f"--cam={tmp_path / 'cam'}",
        "--features", "--video", *videos, str(cut),
    ])  # fmt: skip
    assert sorted(path.name for path in (tmp_path / "cam").iterdir()) == ["1.png", "4.png"]
    for path in (tmp_path / "overlay" / "1.mp4", tmp_path / "overlay" / "4.mp4"):
        with av.open(str(path)) as video:
            assert sum(1 for _ in video.decode(video=0)) == 9
    with np.load(tmp_path / "TSN_infer_features.npz", allow_pickle=False) as arrays:
        assert arrays["paths"].tolist() == videos and arrays["features"].shape == (2, 512)
        logits = arrays["features"] @ (saved := paddle.load(flags[-1].split("=")[1]))["fc.weight"].numpy()
        logits += saved["fc.bias"].numpy()
    assert logits.argmax(axis=1).tolist() == [result.class_ids[0] for result in results[:2]]


def test_skip_done_goes_on_and_refuses_other_settings(flags, small_set, tmp_path, caplog):
    names = (small_set / "infer.list").read_text().splitlines()
    (small_set / "first.list").write_text("\n".join(names[:3]))
    out = [*flags, f"--save_dir={tmp_path}", "--features"]
    infer.main([*out, f"--filelist={small_set / 'first.list'}"])
    with (tmp_path / "TSN_infer_result.jsonl").open("a") as file:
        file.write('{"path": "val/cut off by a kil')
    with caplog.at_level("INFO"):
        results = infer.main([*out, "--skip_done"])
    assert "3 videos done already" in caplog.text
    assert caplog.text.count("[INFER] val/class") == 4 + 3, "a line for each video, three of them by the first run"
    everything = infer.main([*flags, f"--save_dir={tmp_path / 'whole'}", "--features"])
    assert [one.video_id for one in results] == [one.video_id for one in everything] == names
    assert [one.class_ids.tolist() for one in results] == [one.class_ids.tolist() for one in everything]
    assert len(rows_of(tmp_path)) == 7
    features = [np.load(folder / "TSN_infer_features.npz") for folder in (tmp_path, tmp_path / "whole")]
    assert dict(zip(features[0]["paths"].tolist(), range(7), strict=True)).keys() == set(names)
    with pytest.raises(ValueError, match="was made with other settings .*crop was center, is three"):
        infer.main([*out, "--skip_done", "-o", "INFER.crop=three"])
    with pytest.raises(ValueError, match="was made with other settings .*resize was stretch, is keep"):
        infer.main([*out, "--skip_done", "-o", "INFER.resize=keep"])
    caplog.clear()
    with caplog.at_level("INFO"):
        again = infer.main([*out, "--skip_done"])
    assert [one.plain() for one in again] == [one.plain() for one in results]
    assert "7 videos done already" in caplog.text


def start_infer(arguments: list[str], **pipes) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "infer.py", *map(str, arguments)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        **pipes,
    )  # fmt: skip


def wait_for_lines(path, number: int, process: subprocess.Popen) -> None:
    """Until the file has so many lines; a process that ends before fails the test."""
    while not path.is_file() or len(path.read_text().splitlines()) < number:
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)


def test_paths_on_stdin_are_classified_as_they_come_and_ctrl_c_keeps_them(flags, small_set, tmp_path):
    videos = sorted(str(path) for path in (small_set / "val").rglob("*.mp4"))
    lines = tmp_path / "TSN_infer_result.jsonl"
    process = start_infer([*flags, f"--save_dir={tmp_path}", "--stdin"], stdin=subprocess.PIPE)
    for number, video in enumerate([videos[0], "absent.mp4", videos[1]], 1):
        process.stdin.write(video + "\n")
        process.stdin.flush()
        wait_for_lines(lines, number, process)  # before the next one is given
    process.send_signal(signal.SIGINT)  # while it waits for a line
    output, errors = process.communicate(timeout=60)
    assert process.returncode == 130, output + errors
    assert "stopped, --skip_done goes on: 3 videos" in output
    assert [entry[0] for entry in pickle.loads((tmp_path / "TSN_infer_result").read_bytes())] == [
        videos[0], "absent.mp4", videos[1],
    ]  # fmt: skip
    again = [*flags, f"--save_dir={tmp_path}", "--stdin", "--skip_done"]
    process = start_infer(again, stdin=subprocess.PIPE)
    output, errors = process.communicate("\n".join(videos[:3]), timeout=60)  # the last line has no end
    assert process.returncode == 0, errors
    assert "2 videos done already" in output and len(rows_of(tmp_path)) == 3


def test_ctrl_c_keeps_what_is_done_of_a_list(flags, small_set, tmp_path):
    names = [str(small_set / line) for line in (small_set / "infer.list").read_text().splitlines()] * 400
    links = []
    for number, name in enumerate(names):  # each has to be a video of its own
        links.append(tmp_path / "videos" / f"{number}.mp4")
        links[-1].parent.mkdir(exist_ok=True)
        links[-1].symlink_to(name)
    arguments = [*flags, f"--save_dir={tmp_path / 'out'}", "--video", tmp_path / "videos", "--batch_size=2"]
    process = start_infer(arguments)
    wait_for_lines(tmp_path / "out" / "TSN_infer_result.jsonl", 4, process)
    process.send_signal(signal.SIGINT)
    output, errors = process.communicate(timeout=60)
    assert process.returncode == 130, output[-2000:] + errors
    done = rows_of(tmp_path / "out")
    assert 4 <= len(done) < len(names) and all(row["class_ids"] for row in done)
    assert len(pickle.loads((tmp_path / "out" / "TSN_infer_result").read_bytes())) == len(done)


def test_a_long_video_becomes_a_timeline(flags, tmp_path):
    rng = np.random.default_rng(0)
    frames = np.concatenate([class_frames(label, rng, num_frames=50) for label in (0, 1, 2)])  # 6 s
    video = write_video(tmp_path / "long video.mp4", frames)
    out = [*flags, f"--save_dir={tmp_path}", "--video", str(video), "--window_sec=2"]
    timelines = infer.main([*out, f"--overlay={tmp_path / 'overlay'}", "--stride_sec=1"])
    content = json.loads((tmp_path / "long video.timeline.json").read_text())
    assert content["windows"] == timelines[str(video)] and content["is_complete"]
    assert [(row["start_sec"], row["end_sec"]) for row in content["windows"]] == [
        (0, 2), (1, 3), (2, 4), (3, 5), (4, 5.96),
    ]  # fmt: skip
    for row in content["windows"]:
        assert row["class_names"] == [NAMES[class_id] for class_id in row["class_ids"]]
        assert sum(row["probabilities"]) == pytest.approx(1, abs=1e-5)
    assert (tmp_path / "long video.timeline.png").read_bytes()[:4] == b"\x89PNG"
    with av.open(str(tmp_path / "overlay" / "long video.mp4")) as copy:
        assert sum(1 for _ in copy.decode(video=0)) == 150
    # a window over all of it is close to the whole video: other frames of the same segments
    (whole,) = infer.main([*out[:-1], "--window_sec=6"])[str(video)]
    assert (whole["start_sec"], whole["end_sec"]) == (0, 5.96)
    before = (tmp_path / "long video.timeline.json").stat().st_mtime_ns
    assert infer.main([*out[:-1], "--window_sec=6", "--skip_done"]) == {}
    assert (tmp_path / "long video.timeline.json").stat().st_mtime_ns == before


def test_the_windows_of_a_timeline_have_features(flags, tmp_path):
    frames = np.concatenate([class_frames(label, np.random.default_rng(0), 50) for label in (0, 1)])  # 4 s
    video = write_video(tmp_path / "long.mp4", frames)
    (tmp_path / "cut.mp4").write_bytes(b"no video")
    out = [*flags, f"--save_dir={tmp_path}", "--window_sec=1", "--video", str(video)]
    infer.main(out)
    before = (tmp_path / "long.timeline.json").stat().st_mtime_ns
    rows = infer.main([*out, str(tmp_path / "cut.mp4"), "--features", "--skip_done"])[str(video)]
    assert (tmp_path / "long.timeline.json").stat().st_mtime_ns > before, "done before, but without features"
    with np.load(tmp_path / "long.features.npz", allow_pickle=False) as arrays:
        features = arrays["features"]
        assert features.dtype == np.float32 and features.shape == (len(rows), 512) and len(rows) == 4
        for name in ("start_sec", "end_sec"):
            assert arrays[name].dtype == np.float64 and arrays[name].tolist() == [row[name] for row in rows]
    saved = paddle.load(flags[-1].split("=")[1])
    logits = features @ saved["fc.weight"].numpy() + saved["fc.bias"].numpy()
    given = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    for row, expected in zip(rows, given, strict=True):
        assert np.abs(expected[row["class_ids"]] - row["probabilities"]).max() < 1e-5
    assert np.load(tmp_path / "cut.features.npz")["features"].shape == (0, 0)
    before = (tmp_path / "long.timeline.json").stat().st_mtime_ns
    assert infer.main([*out, "--features", "--skip_done"]) == {}
    assert (tmp_path / "long.timeline.json").stat().st_mtime_ns == before
    np.savez(tmp_path / "long.features.npz", features=features[:2], start_sec=np.zeros(2), end_sec=np.ones(2))
    assert len(infer.main([*out, "--features", "--skip_done"])[str(video)]) == 4, "of another run"
    (tmp_path / "long.features.npz").write_bytes(b"no archive")
    with pytest.raises(ValueError, match="long.features.npz: damaged .*delete it, or run without --skip_done"):
        infer.main([*out, "--features", "--skip_done"])


def test_ctrl_c_keeps_the_features_of_the_windows_that_are_over(flags, endless_camera, tmp_path):
    arguments = [*flags, f"--save_dir={tmp_path}", "--video", endless_camera, "--window_sec=1", "--features"]
    process = start_infer([*arguments, "--log_interval=1"])
    said = []
    while sum("[INFER]" in line and " s: " in line for line in said) < 3:
        said.append(process.stdout.readline())
        assert said[-1], "".join(said)
    process.send_signal(signal.SIGINT)
    output, errors = process.communicate(timeout=60)
    assert process.returncode == 130, "".join(said) + output + errors
    (path,) = tmp_path.glob("*.timeline.json")
    content = json.loads(path.read_text())
    with np.load(str(path).replace(".timeline.json", ".features.npz"), allow_pickle=False) as arrays:
        assert arrays["features"].shape == (len(content["windows"]), 512) and len(content["windows"]) >= 3
        assert arrays["end_sec"].tolist() == [row["end_sec"] for row in content["windows"]]
    assert not content["is_complete"]


def test_a_timeline_is_written_before_its_video_ends(flags, tmp_path, monkeypatch):
    video = write_video(tmp_path / "a.mp4", class_frames(0, np.random.default_rng(0), 75))
    written = []
    monkeypatch.setattr("inference.windows.WRITE_EVERY_SEC", 0)
    monkeypatch.setattr(
        "inference.windows.write_json", lambda path, one: written.append((len(one["windows"]), one["is_complete"]))
    )
    infer.main([*flags, f"--save_dir={tmp_path}", "--window_sec=1", "--video", str(video)])
    assert written == [(1, False), (2, False), (3, False), (3, True)]


def test_a_timeline_of_what_cannot_be_read_says_why(flags, tmp_path):
    (tmp_path / "cut.mp4").write_bytes(b"no video")
    out = [*flags, f"--save_dir={tmp_path}", "--window_sec=2", "--video", str(tmp_path / "cut.mp4")]
    assert infer.main(out) == {str(tmp_path / "cut.mp4"): []}
    content = json.loads((tmp_path / "cut.timeline.json").read_text())
    assert content["problem"].startswith("damaged or no video") and not content["is_complete"]


def test_the_views_of_the_config_are_used(flags, small_set, tmp_path):
    plain = infer.main([*flags, f"--save_dir={tmp_path}"])
    views = [*flags, f"--save_dir={tmp_path}", "-o", "INFER.crop=ten", "-o", "INFER.num_clips=2"]
    ten = infer.main(views)
    chunked = infer.main([*views, "-o", "INFER.max_frames_per_batch=7"])
    assert [one.plain() for one in plain] != [one.plain() for one in ten]
    for one, other in zip(ten, chunked, strict=True):
        assert one.class_ids.tolist() == other.class_ids.tolist() and np.allclose(
            one.probabilities, other.probabilities, atol=1e-6
        )


@pytest.mark.parametrize(
    "arguments, part",
    [
        (["--video", "rtsp://127.0.0.1/x"], "give --window_sec"),
        (["--window_sec=2", "--cam=x"], "--window_sec does not go with --cam"),
        (["--stride_sec=2"], "--stride_sec needs --window_sec"),
        (["--window_sec=-1"], "-1 is out of range; it must be above 0"),
        (["--video", "a.mp4", "--stdin"], "not allowed with argument"),
    ],
)
def test_flags_that_make_no_sense_together(arguments, part, capsys):
    with pytest.raises(SystemExit) as caught:
        infer.parse_args(arguments)
    (line,) = capsys.readouterr().err.splitlines()
    assert caught.value.code == 2 and part in line


def test_folders_without_videos_and_pkl(flags, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="empty: no video in this folder; known endings: .mp4"):
        infer.main([*flags, f"--save_dir={tmp_path}", "--video", str(tmp_path / "empty")])
    with pytest.raises(FileNotFoundError, match="gone.mp4: no such video file or folder"):
        infer.main([*flags, f"--save_dir={tmp_path}", "--video", "gone.mp4"])
    with pytest.raises(ValueError, match="the path of a video is empty"):
        infer.main([*flags, f"--save_dir={tmp_path}", "--video", ""])
    with pytest.raises(ValueError, match="MODEL.format is pkl"):
        infer.main([*flags, f"--save_dir={tmp_path}", "-o", "MODEL.format=pkl", "--video", "gone.mp4"])
    with pytest.raises(ValueError, match="INFER.num_clips is for whole videos"):
        infer.main([*flags, f"--save_dir={tmp_path}", "-o", "INFER.num_clips=2", "--window_sec=2"])


def test_names_of_outputs_follow_their_inputs_and_are_never_the_same():
    known = [
        "a/x.mp4",
        "b/x.mp4",
        "b/X.avi",
        "test.avi",
        "sub/test.mp4",
        "rtsp://10.0.0.1:554/live?key=1",
        "a/plain.mkv",
    ]
    expected = ["a_x", "b_x", "X.avi", "test.avi", "test.mp4", "live", "plain"]
    for order in (1, -1):  # whatever the order they come in
        names = OutputNames(known[::order])
        assert [names.name(one) for one in known] == expected
    assert names.name("c/plain.mkv") == "plain.mkv" and names.name("d/plain.mkv") == "d_plain"
    names = OutputNames()  # paths on standard input are not known beforehand
    given = [names.name(one) for one in ("a/x.mp4", "b/x.mp4", "b/X.avi", "x.mp4", "/")]
    assert given == ["x", "x.mp4", "X.avi", "x.mp4_2", "video"]
    assert names.name("b/x.mp4") == "x.mp4" and len(set(map(str.lower, given))) == len(given)
    assert len(names.name("d" * 200 + "/" + "e" * 300 + ".mp4")) == 200


def test_lines_come_until_the_end_or_a_stop(tmp_path):
    reading, writing = os.pipe()
    with StopRequest("") as stop:
        os.write(writing, b"first\nsecond\nthi")
        lines = lines_until_stopped(reading, stop)
        assert [next(lines), next(lines)] == ["first", "second"]
        os.write(writing, b"rd\nfourth")
        assert next(lines) == "third"
        stop.signal_number = signal.SIGINT
        assert list(lines) == []
        stop.signal_number = 0
        os.close(writing)
        assert list(lines_until_stopped(reading, stop)) == []
    os.close(reading)


@pytest.fixture
def endless_camera(tmp_path):
    """An address that sends a video bit by bit, 20 times as fast as it is shown, for longer than any test takes."""
    rng = np.random.default_rng(0)
    path = write_video(
        tmp_path / "camera.ts", np.concatenate([class_frames(number % 3, rng, 100) for number in range(9)])
    )
    content = path.read_bytes()
    piece = len(content) // (9 * 100 // 25)  # a second of video

    class Camera(socketserver.BaseRequestHandler):
        def handle(self):
            for start in range(0, len(content), piece):
                self.request.sendall(content[start : start + piece])
                time.sleep(0.05)
            time.sleep(600)  # silent, but there

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Camera) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"tcp://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


def test_a_camera_is_classified_as_it_comes_until_ctrl_c(flags, endless_camera, tmp_path):
    out = [*flags, f"--save_dir={tmp_path / 'out'}", "--window_sec=2", "--log_interval=1"]
    process = start_infer([*out, "--video", endless_camera])
    seen = []
    for line in process.stdout:
        seen += [line] if " s: " in line else []
        if len(seen) == 3:
            break
    process.send_signal(signal.SIGINT)
    output, errors = process.communicate(timeout=60)
    assert process.returncode == 130, output + errors
    (path,) = (tmp_path / "out").glob("*.timeline.json")
    content = json.loads(path.read_text())
    assert not content["is_complete"] and content["video_id"] == endless_camera
    starts = [row["start_sec"] for row in content["windows"]]
    assert starts == [2 * number for number in range(len(starts))] and len(starts) >= 3
    assert path.with_suffix(".png").is_file()
