"""tar and zip archives of strangers: every member checked before it is read, and a limit on what they unpack to."""

import gzip
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import BinaryIO

MAX_UNPACKED_BYTES = 2 << 30
"""More than any ResNet needs, with its optimizer state and in float64; an archive that claims more is refused."""
HEADER_BYTES = 1 << 20
"""What all that is no file's content may take in a tar archive: names, padding, attributes."""
PIECE_BYTES = 1 << 20
METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
"""Of zip archives. The others of the standard library unpack a member in one go, however much it becomes."""

GZIP_MAGIC = b"\x1f\x8b"
ARCHIVE_ERRORS = (
    tarfile.TarError,
    zipfile.BadZipFile,
    gzip.BadGzipFile,
    zlib.error,
    struct.error,
    EOFError,
    NotImplementedError,  # a version of zip that zipfile does not know
    RuntimeError,  # an encrypted member
    ValueError,
    OverflowError,
)
"""What the standard library raises for damaged archives."""


class _LimitedReader:
    """A stream that refuses to give more than it is allowed to, whatever the archive's headers claim."""

    def __init__(self, stream: BinaryIO):
        self.stream = stream
        self.num_read = 0
        self.allowed = min(HEADER_BYTES, MAX_UNPACKED_BYTES)

    def allow(self, num_bytes: int) -> None:
        self.allowed += num_bytes
        if self.allowed > MAX_UNPACKED_BYTES:
            raise ValueError(f"unpacks to more than {MAX_UNPACKED_BYTES} bytes, which no weights need")

    def read(self, size: int) -> bytes:
        content = self.stream.read(min(size, self.allowed - self.num_read + 1))
        self.num_read += len(content)
        if self.num_read > self.allowed:
            raise ValueError(f"unpacks to more than {self.allowed} bytes, which its files do not need")
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
        stream = _LimitedReader(gzip.GzipFile(fileobj=file) if is_gzipped else file)
        try:
            with tarfile.open(fileobj=stream, mode="r|") as archive:
                for member in archive:
                    if _checked_member(member):
                        stream.allow(member.size)
                        yield PurePosixPath(member.name), archive.extractfile(member).read()
            while stream.read(PIECE_BYTES):  # gzip checks its sum at the end, which tarfile need not reach
                pass
        except ARCHIVE_ERRORS as error:
            raise ValueError(f"{path}: damaged or unsafe archive: {error}") from error


def _checked_member(member: tarfile.TarInfo) -> bool:
    """Whether a member of a tar archive is a file, and not a folder; ValueError if it is anything else."""
    name, shown = PurePosixPath(member.name), repr(member.name[:100])
    if name.is_absolute() or ".." in name.parts or "\\" in member.name or ":" in member.name:
        raise ValueError(f"its member {shown} would lie outside of the archive's folder")
    if member.isdir():
        return False
    if not member.isreg():
        raise ValueError(f"its member {shown} is a link or a device, not a file")
    if member.issparse():
        raise ValueError(f"its member {shown} is a sparse file, which weights never are")
    if not 0 <= member.size <= MAX_UNPACKED_BYTES:
        raise ValueError(f"its member {shown} claims {member.size} bytes")
    return True


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
            members = archive.infolist()
            claimed = sum(member.file_size for member in members)
            if claimed > MAX_UNPACKED_BYTES:
                raise ValueError(f"claims to unpack to {claimed} bytes, which no weights need")
            if not all(member.filename for member in members):
                raise ValueError("has a member without a name")
            return {member.filename: _unpack(archive, member) for member in members if not member.is_dir()}
    except (*ARCHIVE_ERRORS, OSError) as error:  # OSError: a wrong offset sends it to a place before the file
        raise ValueError(f"{path}: damaged archive: {error}") from error


def _unpack(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> bytes:
    """A member of a zip archive, piece by piece: in one go, a member may become more than it claims."""
    if member.compress_type not in METHODS:
        raise ValueError(f"packs {member.filename[:100]!r} by another method than deflate")
    pieces = []
    with archive.open(member) as file:
        while piece := file.read(PIECE_BYTES):
            pieces.append(piece)
    return b"".join(pieces)
