"""tar and zip archives of strangers: every member checked before it is read, and a limit on what they unpack to."""

import gzip
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import BinaryIO

MAX_UNPACKED_BYTES = 2 << 30
"""More than any ResNet needs, with its optimizer state and in float64; an archive that claims more is refused."""

GZIP_MAGIC = b"\x1f\x8b"
ARCHIVE_ERRORS = (
    tarfile.TarError,
    zipfile.BadZipFile,
    gzip.BadGzipFile,
    zlib.error,
    EOFError,
    NotImplementedError,  # a compression method that zipfile does not know
    RuntimeError,  # an encrypted member
    ValueError,
    OverflowError,
)
"""What the standard library raises for damaged archives."""


class _LimitedReader:
    """A stream that refuses to give more than so many bytes in all, whatever the archive's headers claim."""

    def __init__(self, stream: BinaryIO, limit: int):
        self.stream = stream
        self.left = limit

    def read(self, size: int) -> bytes:
        content = self.stream.read(min(size, self.left + 1))
        self.left -= len(content)
        if self.left < 0:
            raise ValueError(f"unpacks to more than {MAX_UNPACKED_BYTES} bytes, which no weights need")
        return content


def is_tar(path: Path) -> bool:
    """Whether a file begins as a gzip file or as a tar file does."""
    with path.open("rb") as file:
        beginning = file.read(512)
    return beginning.startswith(GZIP_MAGIC) or beginning[257:262] == b"ustar"


def tar_files(path: Path) -> Iterator[tuple[PurePosixPath, bytes]]:
    """The files in a tar archive, gzipped or not: their relative paths and contents, one by one.

    Raises:
        ValueError: the archive is damaged or too large, or a member is a link or a device or would lie outside of the
            archive's folder. Members before the bad one may have been given out already.
    """
    with path.open("rb") as file:
        is_gzipped = file.read(2) == GZIP_MAGIC
        file.seek(0)
        stream = _LimitedReader(gzip.GzipFile(fileobj=file) if is_gzipped else file, MAX_UNPACKED_BYTES)
        try:
            with tarfile.open(fileobj=stream, mode="r|") as archive:
                for member in archive:
                    name = PurePosixPath(member.name)
                    if name.is_absolute() or ".." in name.parts or "\\" in member.name or ":" in member.name:
                        raise ValueError(f"its member {member.name!r} would lie outside of the archive's folder")
                    if member.isdir():
                        continue
                    if not member.isreg():
                        raise ValueError(f"its member {member.name!r} is a link or a device, not a file")
                    if member.size > MAX_UNPACKED_BYTES:
                        raise ValueError(f"its member {member.name!r} claims {member.size} bytes")
                    yield name, archive.extractfile(member).read()
            while stream.read(1 << 20):  # gzip checks its sum at the end, which tarfile need not reach
                pass
        except ARCHIVE_ERRORS as error:
            raise ValueError(f"{path}: damaged or unsafe archive: {error}") from error


def flat_tar_files(path: Path) -> Iterator[tuple[str, bytes]]:
    """The files in a tar archive as one folder: by the last part of their paths, without hidden ones.

    Raises:
        ValueError: as `tar_files`, or two files have the same name.
    """
    names = set()
    for member, content in tar_files(path):
        name = member.name
        if name in names:
            raise ValueError(f"{path}: holds two files of the name {name}")
        if not name.startswith("."):  # macOS's file attributes
            names.add(name)
            yield name, content


def zip_files(path: Path) -> dict[str, bytes]:
    """The files in a zip archive by name, checked against their sums.

    Raises:
        ValueError: the archive is damaged or too large.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            claimed = sum(info.file_size for info in archive.infolist())
            if claimed > MAX_UNPACKED_BYTES:
                raise ValueError(f"claims to unpack to {claimed} bytes, which no weights need")
            return {info.filename: archive.read(info) for info in archive.infolist() if not info.is_dir()}
    except (*ARCHIVE_ERRORS, OSError) as error:  # OSError: a wrong offset sends it to a place before the file
        raise ValueError(f"{path}: damaged archive: {error}") from error
