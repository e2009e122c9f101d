"""What is hurt: the commands, the place where one runs, what it leaves there, and how that looks undisturbed."""

import hashlib
import json
import os
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from process import Ended, Job, start_fork, start_fresh
from server import NAME

import export
import infer
import test as test_verb
import train
from common import checksums, console
from conftest import small_flags
from models.weights import Published, published_weights


def download() -> None:
    """What every command does that finds no weights."""
    console.start_logging()
    published_weights(Published(NAME, {}, "give --weights"))


class Place(NamedTuple):
    """A folder of its own for a run: the videos and lists that it reads, the results, what it says."""

    folder: Path

    @property
    def videos(self) -> Path:
        return self.folder / "set"

    @property
    def out(self) -> Path:
        return self.folder / "out"

    @property
    def log(self) -> Path:
        return self.folder / "log"


class Command(NamedTuple):
    """A command, as a user gives it again after whatever happened."""

    name: str
    words: Callable[["Bench", Place], list[str]]
    """Script and flags."""
    main: Callable[[], Any] | None = None
    """What a fork calls; None: it starts processes of its own and is always started afresh."""
    again: tuple[str, ...] = ()
    """Flags that make it go on."""


SIDE = 32
SMALL = {f"{section}__target_size": SIDE for section in ("TRAIN", "VALID", "TEST", "INFER")}
SMALL |= {f"{section}__short_size": SIDE for section in ("TRAIN", "VALID", "TEST", "INFER")}
SMALL |= {f"{section}__batch_size": 2 for section in ("TRAIN", "VALID", "TEST", "INFER")}


def _train(bench: "Bench", place: Place) -> list[str]:
    settings = SMALL | {"TRAIN__epoch": 2, "TRAIN__save_interval_steps": 2, "TRAIN__keep_last": 1}
    flags = ["--pretrain=none", "--valid_interval=2", "--log_interval=1", "--resume=auto"]
    return ["train.py", *flags, *small_flags(place.videos, **settings), f"--save_dir={place.out}"]


def _with_weights(script: str, *flags: str) -> Callable[["Bench", Place], list[str]]:
    def words(bench: "Bench", place: Place) -> list[str]:
        return [
            script,
            f"--weights={bench.weights}",
            *small_flags(place.videos, **SMALL),
            f"--save_dir={place.out}",
            *flags,
        ]

    return words


def _transcode(bench: "Bench", place: Place) -> list[str]:
    flags = ["--short_side=64", "--workers=2", "--timeout_sec=20"]
    return ["dataset/kinetics/transcode.py", f"--videos={place.videos}", f"--out={place.out}", *flags]


def _check(bench: "Bench", place: Place) -> list[str]:
    lists = [str(place.videos / f"{name}.list") for name in ("train", "val")]
    return ["dataset/kinetics/check_videos.py", *lists, "--workers=2", "--timeout_sec=20"]


COMMANDS = {
    command.name: command
    for command in (
        Command("train", _train, train.main),
        Command("test", _with_weights("test.py"), test_verb.main),
        Command("infer", _with_weights("infer.py", "--features"), infer.main, ("--skip_done",)),
        Command("export", _with_weights("export.py"), export.main),
        Command("transcode", _transcode),
        Command("check_videos", _check),
        Command("download", lambda bench, place: ["download"], download),
    )
}


class Reference(NamedTuple):
    """A run that nobody disturbed."""

    left: dict[str, Any]
    """See `result`."""
    seconds: float


class Bench:
    """The videos, the weights, and the places.

    Args:
        folder: for all of it.
        videos: a small set, see conftest.
        server_url: where "download" gets its archive from.
    """

    def __init__(self, folder: Path, videos: Path, server_url: str):
        self.folder = folder
        self.videos = videos
        self.server_url = server_url
        self.weights = folder / "weights"
        self.references: dict[str, Reference] = {}

    def place(self) -> Place:
        """A new one."""
        place = Place(Path(tempfile.mkdtemp(prefix="place ", dir=self.folder)))
        place.folder.chmod(0o755)
        place.out.mkdir()
        shutil.copytree(self.videos, place.videos)
        return place

    def heal(self, place: Place) -> None:
        """Give the place its videos and lists back, and the right to write."""
        place.out.chmod(0o755)
        for path in self.videos.rglob("*"):
            copy = place.videos / path.relative_to(self.videos)
            if path.is_file() and not (
                copy.is_file() and not copy.is_symlink() and copy.read_bytes() == path.read_bytes()
            ):
                shutil.rmtree(copy) if copy.is_dir() else copy.unlink(missing_ok=True)
                shutil.copy2(path, copy)

    def start(
        self,
        command: Command,
        place: Place,
        *flags: str,
        fresh: bool = False,
        before: Callable[[], None] | None = None,
        **settings,
    ) -> Job:
        words = [*command.words(self, place), *flags]
        place.log.write_text("")
        place.log.chmod(0o666)
        environment = {"TSN_WEIGHTS_HOME": str(place.out), "TSN_WEIGHTS_URL": self.server_url, "no_proxy": "127.0.0.1"}
        os.environ |= environment
        if command.main and not fresh:
            return start_fork(command.main, words, place.log, before)
        return start_fresh([sys.executable, *words], place.log, before, **settings)

    def run_undisturbed(self, command: Command, place: Place, *flags: str) -> Ended:
        return self.start(command, place, *flags).end()

    def reference(self, name: str) -> Reference:
        """Computed once; the first training leaves the weights that the others read."""
        if name not in self.references:
            place, started_sec = self.place(), time.monotonic()
            ended = self.run_undisturbed(COMMANDS[name], place)
            assert ended.code == 0 and not ended.left_behind, ended
            self.references[name] = Reference(result(place), time.monotonic() - started_sec)
            if name == "train":
                shutil.copytree(place.out / "TSN_epoch1", self.weights)
            shutil.rmtree(place.folder)
        return self.references[name]


def result(place: Place) -> dict[str, Any]:
    """{file: what counts of its content} of all that a run leaves; times and the place itself do not count.

    Raises:
        ValueError, OSError: a file is damaged.
    """
    paths = [path for folder in (place.out, place.videos) for path in folder.rglob("*")]
    return {str(path.relative_to(place.folder)): _content(path, place) for path in paths if not path.is_dir()}


def _content(path: Path, place: Place) -> Any:
    if path.suffix == ".lock" or path.name in (".lock", "metrics.jsonl"):
        assert all(json.loads(line) for line in path.read_text().splitlines()), path
        return None
    if path.name == "SHA256SUMS":
        checksums.verify(path.parent)
        return sorted(checksums.recorded(path))
    if path.name == "report.html":
        return path.read_text().rstrip().endswith("</html>")
    content = path.read_bytes().replace(str(place.folder).encode(), b"PLACE")
    if path.name in ("state.json", "scores.json"):
        content = json.loads(content)
        for key in ("elapsed_sec", "files", "about", "serial"):
            content.pop(key, None)
        content = re.sub(r"'(minutes|read_sec)': [\d.e-]+", "", str(content)).encode()
    return hashlib.sha256(content).hexdigest()
