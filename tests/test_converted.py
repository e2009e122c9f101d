"""The cache of converted models: whole or not at all, whatever happens to it."""

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from common import checksums
from conftest import SIDE, small_flags, write_random_weights
from inference import build, choice, converted
from inference.converted import cache_folder, entry_key, has_entry, open_converted

ROOT = Path(__file__).resolve().parent.parent


def write(folder: Path, content: str = "a model") -> None:
    folder.mkdir()
    (folder / "model").write_text(content)


def read(folder: Path) -> str:
    return (folder / "model").read_text()


def refuse(folder: Path) -> None:
    raise AssertionError("is made again")


def test_an_entry_is_made_once_and_read_ever_after():
    assert not has_entry("key")
    assert open_converted("key", write, read) == "a model"
    assert has_entry("key")
    assert open_converted("key", refuse, read) == "a model"


def test_what_an_entry_depends_on_is_its_name():
    about = {"weights": "abc", "versions": {"paddle": "3.3.1"}}
    assert entry_key(about) == entry_key(dict(reversed(about.items())))
    assert entry_key(about) != entry_key(about | {"versions": {"paddle": "3.3.2"}})


@pytest.mark.parametrize("damage", [
    lambda entry: (entry / "model").write_text("a moddl"),
    lambda entry: (entry / "model").unlink(),
    lambda entry: (entry / "SHA256SUMS").unlink(),
    lambda entry: (entry / "SHA256SUMS").write_text(""),
    lambda entry: (entry / "SHA256SUMS").write_bytes(b"\xff\x00"),
])  # fmt: skip
def test_a_damaged_entry_is_told_and_made_again(damage, caplog):
    open_converted("key", write, read)
    damage(cache_folder() / "key")
    assert open_converted("key", write, read) == "a model"
    assert "the model is converted again" in caplog.text
    assert open_converted("key", refuse, read) == "a model"


def test_what_fails_leaves_nothing_and_is_raised():
    def fail(folder: Path) -> None:
        write(folder)
        raise ValueError("cannot be converted")

    with pytest.raises(ValueError, match="cannot be converted"):
        open_converted("key", fail, read)
    assert [path.name for path in cache_folder().iterdir()] == ["key.lock"]
    assert open_converted("key", write, read) == "a model"


def test_off_keeps_nothing(monkeypatch, tmp_path):
    monkeypatch.setenv("TSN_ENGINE_CACHE", "off")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    assert open_converted("key", write, read) == "a model"
    assert not has_entry("key") and not (tmp_path / "home").exists()


def test_the_folder_follows_the_environment(monkeypatch, tmp_path):
    monkeypatch.delenv("TSN_ENGINE_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "tsn-engines"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_folder() == Path.home() / ".cache" / "tsn-engines"


def test_those_that_were_not_used_for_the_longest_time_go(monkeypatch):
    monkeypatch.setattr(converted, "MOST_BYTES", 1000)
    for number, key in enumerate("abc"):
        open_converted(key, lambda folder: write(folder, "x" * 250), read)
        os.utime(cache_folder() / key, (number, number))
    assert open_converted("a", refuse, read)  # now the newest
    open_converted("d", lambda folder: write(folder, "x" * 250), read)
    assert [key for key in "abcd" if has_entry(key)] == ["a", "c", "d"]


def test_one_that_is_being_opened_is_left(monkeypatch):
    monkeypatch.setattr(converted, "MOST_BYTES", 0)

    def open_slowly(folder: Path) -> str:
        open_converted("other", write, read)  # which makes room
        return read(folder)

    assert open_converted("key", write, open_slowly) == "a model"


def test_two_that_make_room_at_once_do_not_meet(monkeypatch):
    def gone(path: Path) -> None:
        raise FileNotFoundError(path)

    open_converted("old", write, read)
    monkeypatch.setattr(converted, "MOST_BYTES", 0)
    monkeypatch.setattr(converted, "remove", gone)
    assert open_converted("new", write, read) == "a model"


def test_two_at_once_make_one(caplog):
    made, is_under_way, go_on = [], threading.Event(), threading.Event()

    def make(folder: Path) -> None:
        made.append(folder)
        is_under_way.set()
        go_on.wait(20)
        write(folder)

    found = []
    threads = [threading.Thread(target=lambda: found.append(open_converted("key", make, read))) for _ in range(2)]
    with caplog.at_level("INFO"):
        threads[0].start()
        assert is_under_way.wait(20)
        threads[1].start()
        while "waiting for it" not in caplog.text:
            time.sleep(0.01)
        go_on.set()
        for thread in threads:
            thread.join(20)
    assert found == ["a model"] * 2 and len(made) == 1


KILLED = """
import pathlib, sys, time
from inference.converted import open_converted

def make(folder):
    folder.mkdir()
    (folder / "model").write_text("half a mo")
    print("under way", flush=True)
    time.sleep(100)

open_converted("key", make, lambda folder: None)
"""


def test_a_conversion_that_is_killed_leaves_no_entry():
    process = subprocess.Popen([sys.executable, "-c", KILLED], cwd=ROOT, stdout=subprocess.PIPE)
    assert process.stdout.readline() == b"under way\n"
    process.send_signal(signal.SIGKILL)
    process.wait()
    left = [path.name for path in cache_folder().iterdir()]
    assert len(left) == 2 and "key.lock" in left and not has_entry("key")
    assert open_converted("key", write, read) == "a model"
    assert {path.name for path in cache_folder().iterdir()} == {"key", "key.lock"}


def test_a_full_disk_is_told_before_the_work_begins(tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=10_000_000))

    def convert(folder: Path) -> None:
        with converted.room_for(folder.parent, 90_000_000):
            raise AssertionError("begins")

    with pytest.raises(OSError, match=r"cannot keep the converted model here \(No space left.*90 MB.*TSN_ENGINE_CACHE"):
        open_converted("key", convert, read)
    assert not has_entry("key")


def test_a_disk_that_fills_up_meanwhile_is_told(tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)

    def convert(folder: Path) -> None:
        with converted.room_for(folder.parent, 1000):
            monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=10_000))
            raise RuntimeError("a library fell over")

    with pytest.raises(OSError, match=r"cannot keep the converted model here \(No space left on device\)"):
        open_converted("key", convert, read)


def test_where_nothing_can_be_kept_auto_goes_on_and_a_named_engine_ends(small_set, tmp_path, monkeypatch, caplog):
    import infer

    (tmp_path / "a file").write_text("")
    monkeypatch.setenv("TSN_ENGINE_CACHE", str(tmp_path / "a file"))
    monkeypatch.setattr(choice, "GMACS_WORTH_CONVERTING", 0)
    weights = write_random_weights(tmp_path)
    flags = [*small_flags(small_set), f"--weights={weights}", f"--save_dir={tmp_path}"]
    assert len(infer.main(flags)) == 7
    assert "cannot keep the converted model here (File exists)" in caplog.text
    with pytest.raises(OSError, match="a file: cannot keep the converted model here"):
        infer.main([*flags, "--engine=openvino"])


def test_other_weights_sizes_and_engines_are_other_entries(small_set, tmp_path):
    weights, keys = write_random_weights(tmp_path), set()
    for number, (engine, size) in enumerate([("openvino", SIDE), ("openvino", 2 * SIDE), ("paddle", SIDE)]):
        overrides = [*(flag for flag in small_flags(small_set)[1:] if flag != "-o"), f"INFER.target_size={size}",
                     f"INFER.short_size={2 * SIDE}"]  # fmt: skip
        config = build.load_config("configs/tsn.yaml", overrides)
        keys.add(build.Conversion(build.Source(config, "infer", weights), engine, "float32", None).key)
        assert len(keys) == number + 1
    for resize in ("stretch", "keep"):  # what an int8 model was calibrated on
        config = build.load_config("configs/tsn.yaml", [*overrides, f"INFER.resize={resize}"])
        source = build.Source(config, "infer", weights)
        keys.add(build.Conversion(source, "openvino", "int8", str(small_set / "train.list")).key)
    assert len(keys) == 5
    paddle_file = checksums.sha256(weights)
    with weights.open("ab") as file:
        file.write(b"x")
    assert checksums.sha256(weights) != paddle_file
    keys.add(build.Conversion(build.Source(config, "infer", weights), "paddle", "float32", None).key)
    assert len(keys) == 6
