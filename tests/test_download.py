"""Downloads against a server on 127.0.0.1 that misbehaves in every way that servers do."""

import hashlib
import io
import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest

from formula_weights import write_original_folder
from models.weights import TSN_KINETICS, published_weights
from models.weights import download as download_module
from models.weights.formats import read_arrays
from weights_server import serve

ARRAYS = {f"res{i}_weights": np.random.default_rng(i).standard_normal((64, 256)).astype(np.float32) for i in range(8)}


def make_archive(folder: Path) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as archive:
        archive.add(write_original_folder(folder / "variables", ARRAYS), "tsn_kinetics")
    return stream.getvalue()


@pytest.fixture(scope="module")
def archive(tmp_path_factory) -> bytes:
    return make_archive(tmp_path_factory.mktemp("archive"))


@pytest.fixture
def server(archive, monkeypatch):
    with serve({"tsn_kinetics.tar.gz": archive}) as server:
        monkeypatch.setenv("TSN_WEIGHTS_URL", server.url)
        monkeypatch.setattr(download_module, "RETRY_PAUSES_SEC", (0, 0, 0, 0))
        yield server


@pytest.fixture
def home(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("TSN_WEIGHTS_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def is_whole(folder: Path) -> bool:
    read = read_arrays(folder)
    return read.keys() == ARRAYS.keys() and all(np.array_equal(read[name], ARRAYS[name]) for name in ARRAYS)


def names(home: Path) -> list[str]:
    return sorted(path.name for path in home.iterdir() if not path.name.endswith(".lock"))


def test_whole(server, home, archive):
    folder = published_weights(TSN_KINETICS)
    assert folder == home / "tsn_kinetics" and is_whole(folder)
    assert names(home) == ["tsn_kinetics", "tsn_kinetics.tar.gz.sha256"]
    assert (home / "tsn_kinetics.tar.gz.sha256").read_text().startswith(hashlib.sha256(archive).hexdigest())
    published_weights(TSN_KINETICS)
    assert server.ranges == [None], "the second call must not download again"


def test_slow(server, home):
    server.pause_sec = 0.05
    assert is_whole(published_weights(TSN_KINETICS))


def test_cut_in_the_middle_and_resumed(server, home, archive):
    server.cut_after, server.num_cuts = len(archive) // 3, 2
    assert is_whole(published_weights(TSN_KINETICS))
    third = len(archive) // 3
    assert server.ranges == [None, f"bytes={third}-", f"bytes={2 * third}-"]


def test_what_one_run_brought_the_next_one_goes_on_with(server, home, archive):
    server.cut_after, server.knows_ranges = len(archive) // 2, False
    with pytest.raises(OSError, match="the connection ended at byte"):
        published_weights(TSN_KINETICS)
    assert names(home) == ["tsn_kinetics.tar.gz.partial"]
    server.cut_after, server.knows_ranges, server.ranges = None, True, []
    assert is_whole(published_weights(TSN_KINETICS))
    assert server.ranges == [f"bytes={len(archive) // 2}-"]


def test_a_server_that_knows_no_ranges_starts_over(server, home, archive):
    home.mkdir()
    (home / "tsn_kinetics.tar.gz.partial").write_bytes(b"x" * 1000)
    server.knows_ranges = False
    assert is_whole(published_weights(TSN_KINETICS))


@pytest.mark.parametrize("is_whole_already", [True, False])
def test_a_partial_file_of_full_length_or_more(server, home, archive, is_whole_already):
    home.mkdir()
    (home / "tsn_kinetics.tar.gz.partial").write_bytes(archive if is_whole_already else archive + b"more")
    assert is_whole(published_weights(TSN_KINETICS))
    assert server.ranges == ([f"bytes={len(archive)}-"] if is_whole_already else [f"bytes={len(archive) + 4}-", None])


def test_wrong_checksum(server, home):
    known = TSN_KINETICS._replace(sha256="0" * 64)
    with pytest.raises(ValueError, match="its SHA-256 is .*, expected 0{64}; it is deleted now, so that the next run"):
        published_weights(known)
    assert names(home) == []


def test_right_checksum(server, home, archive):
    assert is_whole(published_weights(TSN_KINETICS._replace(sha256=hashlib.sha256(archive).hexdigest())))


def test_another_archive_than_the_first_time_is_refused(server, home, tmp_path):
    shutil.rmtree(published_weights(TSN_KINETICS))
    server.files["tsn_kinetics.tar.gz"] = make_archive(tmp_path)[:-1] + b"\1"
    with pytest.raises(ValueError, match="tsn_kinetics.tar.gz: has changed since its SHA-256 was written"):
        published_weights(TSN_KINETICS)
    assert names(home) == ["tsn_kinetics.tar.gz.sha256"]


@pytest.mark.parametrize("length", ["abc", "-5", "1e3", "9" * 5000, "\xb2"])
def test_a_length_that_is_none_is_told(server, home, length):
    server.length = length
    with pytest.raises(
        OSError, match="tsn_kinetics.tar.gz: cannot be downloaded .the server says that '.*' bytes follow"
    ):
        published_weights(TSN_KINETICS)


@pytest.mark.parametrize("moment", ["flat_tar_files", "unfinished"])
def test_the_archive_of_an_interrupted_run_does_not_stay(server, home, monkeypatch, moment):
    """The next run took it for one that was put there by hand."""

    def interrupted(*args):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(download_module, moment, interrupted)
        published_weights(TSN_KINETICS)
    assert is_whole(published_weights(TSN_KINETICS))
    assert names(home) == ["tsn_kinetics", "tsn_kinetics.tar.gz.sha256"]


def test_404_is_told_at_once(server, home):
    server.status = 404
    with pytest.raises(OSError) as caught:
        published_weights(TSN_KINETICS)
    url, reason = f"{server.url}/tsn_kinetics.tar.gz", "the server answers 404 Not Found"
    by_hand = f"download it in another way and put it at {home / 'tsn_kinetics.tar.gz'}"
    assert str(caught.value) == f"{url}: cannot be downloaded ({reason}); {by_hand}, or give --weights"
    assert len(server.ranges) == 1


def test_a_server_in_trouble_is_asked_again_with_growing_pauses(server, home, monkeypatch):
    pauses = []
    monkeypatch.setattr(download_module, "RETRY_PAUSES_SEC", (1, 2, 4, 8))
    monkeypatch.setattr(download_module.time, "sleep", pauses.append)
    server.status = 503
    with pytest.raises(OSError, match="the server answers 503"):
        published_weights(TSN_KINETICS)
    assert len(server.ranges) == 5 and pauses[:4] == [1, 2, 4, 8]


def test_without_network_one_line_says_what_to_do(home, monkeypatch):
    monkeypatch.setattr(download_module, "RETRY_PAUSES_SEC", (0,))
    with pytest.raises(
        OSError, match=r"http://127.0.0.1:9/tsn_kinetics.tar.gz: cannot be downloaded .*refused.* put it at"
    ):
        published_weights(TSN_KINETICS)


def test_a_cut_archive_that_was_put_there_by_hand_is_named_and_kept(home, archive):
    home.mkdir()
    (home / "tsn_kinetics.tar.gz").write_bytes(archive[:-100])
    with pytest.raises(ValueError, match="tsn_kinetics.tar.gz: damaged .*; put a whole one there, or delete it"):
        published_weights(TSN_KINETICS)
    assert names(home) == ["tsn_kinetics.tar.gz"]


def test_an_archive_that_was_put_there_by_hand_is_used_and_kept(home, archive):
    home.mkdir()
    (home / "tsn_kinetics.tar.gz").write_bytes(archive)
    assert is_whole(published_weights(TSN_KINETICS))
    assert "tsn_kinetics.tar.gz" in names(home)


@pytest.mark.parametrize("content", [b"<html>log in to this network first</html>", b""])
def test_what_is_no_archive_is_refused_and_not_kept(server, home, content):
    server.files["tsn_kinetics.tar.gz"] = content
    with pytest.raises(ValueError, match="tsn_kinetics.tar.gz: damaged or unsafe archive"):
        published_weights(TSN_KINETICS)
    assert names(home) == []


@pytest.mark.parametrize("name", ["../escape", "/tmp/tsn-escape", "a/../../escape"])
def test_an_archive_cannot_write_outside_of_its_folder(server, home, name):
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as archive:
        archive.addfile(tarfile.TarInfo(name))
    server.files["tsn_kinetics.tar.gz"] = stream.getvalue()
    with pytest.raises(ValueError, match="would lie outside"):
        published_weights(TSN_KINETICS)
    assert names(home) == [] and not (home.parent / "escape").exists() and not Path("/tmp/tsn-escape").exists()


def test_two_processes_at_once_download_once(server, home):
    server.pause_sec = 0.1
    code = "import common.startup; from models.weights import *; print(published_weights(TSN_KINETICS))"
    command = [sys.executable, "-c", code]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    assert [process.communicate(timeout=100)[0].strip() for process in processes] == [str(home / "tsn_kinetics")] * 2
    assert server.ranges == [None] and is_whole(home / "tsn_kinetics")


def test_a_full_disk_is_told_and_nothing_is_lost(server, home, archive, monkeypatch):
    """/dev/full takes no byte, as a full disk."""
    home.mkdir()
    partial = home / "tsn_kinetics.tar.gz.partial"
    partial.symlink_to("/dev/full")
    with pytest.raises(OSError, match="home: cannot be written .No space left on device.; free or mend it, or set"):
        published_weights(TSN_KINETICS)
    assert len(server.ranges) == 1, "a full disk is not tried again"
    partial.unlink()
    assert is_whole(published_weights(TSN_KINETICS))


def test_a_disk_that_fills_up_while_unpacking_keeps_the_archive(server, home, monkeypatch):
    write_bytes = Path.write_bytes

    def quota(path, data):
        if path.name == "res5_weights":
            raise OSError(28, "No space left on device")
        return write_bytes(path, data)

    with monkeypatch.context() as full:
        full.setattr(Path, "write_bytes", quota)
        with pytest.raises(OSError, match="home: cannot be written .No space left"):
            published_weights(TSN_KINETICS)
    assert names(home) == [".tsn_kinetics.downloaded", "tsn_kinetics.tar.gz"]
    assert is_whole(published_weights(TSN_KINETICS))
    assert len(server.ranges) == 1


def test_a_home_that_cannot_be_made_is_named(server, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("TSN_WEIGHTS_HOME", str(tmp_path / "file" / "home"))
    with pytest.raises(OSError, match="file/home: cannot be written .Not a directory.; .*TSN_WEIGHTS_HOME"):
        published_weights(TSN_KINETICS)


def test_a_wrong_server_is_named(home, monkeypatch):
    monkeypatch.setenv("TSN_WEIGHTS_URL", "file:///etc")
    with pytest.raises(ValueError, match="TSN_WEIGHTS_URL is 'file:///etc'; it must begin with http"):
        published_weights(TSN_KINETICS)


def test_the_user_s_folder_is_the_default(monkeypatch, tmp_path):
    monkeypatch.delenv("TSN_WEIGHTS_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    folder = tmp_path / ".paddle" / "weights" / "tsn_kinetics"
    folder.mkdir(parents=True)
    assert published_weights(TSN_KINETICS) == folder
    assert os.listdir(folder.parent) == ["tsn_kinetics"]
