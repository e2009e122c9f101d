"""The published weights: downloaded once, unpacked, kept in ~/.paddle/weights.

TSN_WEIGHTS_HOME moves the folder, TSN_WEIGHTS_URL the server.
"""

import http.client
import logging
import os
import ssl
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any, NamedTuple

import filelock
from tqdm import tqdm

from common import checksums
from common.whole_file import remove_leftovers, unfinished
from models.weights.archives import flat_tar_files

logger = logging.getLogger(__name__)

SERVER = "https://paddlemodels.bj.bcebos.com/video_classification"
HOME = "~/.paddle/weights"
TIMEOUT_SEC = 30
MAX_DIGITS = 15  # of a length
RETRY_PAUSES_SEC = (1, 2, 4, 8)
"""Before each further try after one that brought nothing."""
RETRIED_STATUS = (408, 429, 500, 502, 503, 504)
CONNECTION_ERRORS = (urllib.error.URLError, http.client.HTTPException, ConnectionError, TimeoutError, ssl.SSLError)


class Published(NamedTuple):
    """Weights on the server of the 2019 original."""

    name: str
    """The archive is NAME.tar.gz, the folder that it becomes NAME."""
    fits: dict[str, Any]
    """The keys of MODEL that a network needs to have for them, and their values."""
    other_way: str
    """What a user can do who does not want them."""
    sha256: str | None = None
    """The archive's sum; None: not known, so the first download's is recorded and later ones are compared with it."""


RESNET50 = {"backbone": "resnet", "num_layers": 50, "seglen": 1}
TSN_KINETICS = Published("tsn_kinetics", RESNET50 | {"num_classes": 400}, "give --weights")
TSM_KINETICS = Published(
    "tsm_kinetics", RESNET50 | {"num_classes": 400, "shift_div": 8, "shift_every": 1}, "give --weights"
)
RESNET50_IMAGENET = Published("ResNet50_pretrained", RESNET50, "give --pretrain (none: train from scratch)")


def published_weights(published: Published) -> Path:
    """The folder of published weights, which is downloaded and unpacked first if it is not there yet.

    Processes that call this at the same time download once. An archive that was put into the folder by hand is used.

    Raises:
        OSError: the folder cannot be written, or the server not be reached; the message says what to do by hand.
        ValueError: the archive is damaged or is not what was expected.
    """
    home = Path(os.environ.get("TSN_WEIGHTS_HOME") or HOME).expanduser()
    folder = home / published.name
    if folder.is_dir():
        return folder
    try:
        home.mkdir(parents=True, exist_ok=True)
        lock = filelock.FileLock(home / f".{published.name}.lock")
        try:
            lock.acquire(timeout=0)
        except filelock.Timeout:
            logger.info("waiting for another process, which is downloading %s", published.name)
            lock.acquire()
        try:
            if not folder.is_dir():
                _obtain(published, folder)
        finally:
            lock.release()
    except OSError as error:
        if error.errno is None:
            raise
        raise OSError(
            f"{home}: cannot be written ({error.strerror}); free or mend it, or set TSN_WEIGHTS_HOME to another folder"
        ) from error
    return folder


def _obtain(published: Published, folder: Path) -> None:
    archive = folder.with_name(f"{published.name}.tar.gz")
    mark = folder.with_name(f".{published.name}.downloaded")  # an archive without it was put here by hand, and stays
    if not archive.is_file():
        partial = archive.with_name(f"{archive.name}.partial")
        _download(f"{_server()}/{archive.name}", partial, archive, published.other_way)
        mark.touch()
        os.replace(partial, archive)
    is_ours = mark.is_file()
    remove_leftovers(folder.parent)
    try:
        _check(archive, published.sha256)
        with unfinished(folder) as hidden:
            _unpack(archive, hidden)
            # before the folder is there: after it, nobody would come back to do it
            if not checksums.sums_of_file(archive).is_file():
                checksums.record(archive)
            if is_ours:
                archive.unlink()
                mark.unlink()
    except ValueError as error:
        if not is_ours:
            raise ValueError(f"{error}; put a whole one there, or delete it") from error
        archive.unlink()
        mark.unlink()
        raise ValueError(f"{error}; it is deleted now, so that the next run downloads it anew") from error
    logger.info("published weights are ready in %s", folder)


def _server() -> str:
    server = (os.environ.get("TSN_WEIGHTS_URL") or SERVER).rstrip("/")
    if not server.startswith(("http://", "https://")):
        raise ValueError(f"TSN_WEIGHTS_URL is {server!r}; it must begin with http:// or https://")
    return server


def _check(archive: Path, expected: str | None) -> None:
    """Compare the archive's SHA-256 with the known one, and with the one recorded at the first download."""
    checksums.verify(archive)
    found = checksums.sha256(archive) if expected else None
    if found != expected:
        raise ValueError(f"{archive}: its SHA-256 is {found}, expected {expected}")


def _download(url: str, partial: Path, archive: Path, other_way: str) -> None:
    """Bring a file whole to `partial`, going on where an earlier try ended."""
    failures = 0
    while True:
        size_before = _size(partial)
        try:
            _transfer(url, partial)
            return
        except CONNECTION_ERRORS as error:
            reason = _reason(error)
            is_final = isinstance(error, urllib.error.HTTPError) and error.code not in RETRIED_STATUS
        failures = 0 if _size(partial) > size_before else failures + 1
        if is_final or failures > len(RETRY_PAUSES_SEC):
            raise OSError(
                f"{url}: cannot be downloaded ({reason}); download it in another way and put it at {archive}, "
                f"or {other_way}"
            )
        pause_sec = RETRY_PAUSES_SEC[max(failures - 1, 0)]
        logger.warning("%s: %s; trying again in %g s", url, reason, pause_sec)
        time.sleep(pause_sec)


def _transfer(url: str, partial: Path) -> None:
    """One try: append to `partial` what is missing of it.

    Raises:
        one of CONNECTION_ERRORS: the connection failed or ended early.
        OSError: the file cannot be written.
    """
    start = _size(partial)
    request = urllib.request.Request(url, headers={"Range": f"bytes={start}-"} if start else {})
    try:
        response = urllib.request.urlopen(request, timeout=TIMEOUT_SEC)
    except urllib.error.HTTPError as error:
        if error.code != http.client.REQUESTED_RANGE_NOT_SATISFIABLE:
            raise
        if error.headers.get("Content-Range", "").endswith(f"/{start}"):
            return  # nothing is missing
        partial.unlink()
        raise ConnectionError(f"the server cannot go on at byte {start}") from error
    with response:
        if response.status != http.client.PARTIAL_CONTENT:
            start = 0  # the server sends the whole file
        length = response.headers.get("Content-Length")
        if length and not (length.isascii() and length.isdecimal() and len(length) <= MAX_DIGITS):
            raise ConnectionError(f"the server says that {length[:40]!r} bytes follow")
        total = start + int(length) if length else None
        logger.info("downloading %s to %s%s", url, partial.parent, f", from byte {start} on" if start else "")
        with (
            partial.open("r+b" if start else "wb") as file,
            tqdm(total=total, initial=start, desc=partial.stem, unit="B", unit_scale=True, disable=None) as bar,
        ):
            file.seek(start)
            while block := response.read(1 << 18):
                file.write(block)
                bar.update(len(block))
            if total is not None and file.tell() < total:
                raise ConnectionError(f"the connection ended at byte {file.tell()} of {total}")
            file.flush()
            os.fsync(file.fileno())


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def _reason(error: Exception) -> str:
    if isinstance(error, urllib.error.HTTPError):
        return f"the server answers {error.code} {error.reason}"
    reason = getattr(error, "reason", error)  # URLError wraps the error of the socket
    return getattr(reason, "strerror", None) or str(reason) or type(error).__name__


def _unpack(archive: Path, folder: Path) -> None:
    """Unpack an archive's files to a folder that is not there yet, checksums included."""
    folder.mkdir()
    for name, content in flat_tar_files(archive):
        (folder / name).write_bytes(content)
    checksums.record(folder)
