"""SHA-256 sums beside files, as sha256sum writes and checks them: a file that has changed since is found out.

All forms are read that it writes: `sum  name`, `sum *name` (-b), `SHA256 (name) = sum` (--tag), and a backslash before
a line whose name has escapes. A folder holds SHA256SUMS, which lists its files; a single file F has F.sha256 beside it.
"""

import hashlib
import os
import re
from pathlib import Path, PurePosixPath

from common.whole_file import write_bytes

FOLDER_SUMS = "SHA256SUMS"
FILE_SUFFIX = ".sha256"
SUM = "[0-9a-fA-F]{64}"
LINE = re.compile(rf"(\\?)(?:(?P<sum>{SUM}) [ *](?P<name>.+)|SHA256 \((?P<tagged>.+)\) = (?P<tagged_sum>{SUM}))")
ESCAPES = {"\\": "\\\\", "\n": "\\n", "\r": "\\r"}
"""How sha256sum writes what would break its lines; such a line begins with a backslash."""
UNESCAPES = {escape: plain for plain, escape in ESCAPES.items()}


def sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def fingerprint(path: Path) -> str:
    """One SHA-256 for a file's content, or for all files of a folder with their names."""
    if path.is_file():
        return sha256(path)
    lines = [f"{sha256(file)}  {file.relative_to(path)}\n" for file in sorted(path.rglob("*")) if file.is_file()]
    return hashlib.sha256(os.fsencode("".join(lines))).hexdigest()


def record(path: Path, known: dict[str, str] | None = None) -> None:
    """Write the sums of a folder's files, or of one file; `known` holds those already computed, by file name."""
    files = sorted(file for file in path.iterdir() if file.is_file()) if path.is_dir() else [path]
    sums = path / FOLDER_SUMS if path.is_dir() else sums_of_file(path)
    digests = {file.name: (known or {}).get(file.name) or sha256(file) for file in files if file != sums}
    write_bytes(sums, b"".join(os.fsencode(_line(name, digest)) for name, digest in digests.items()))


def verify(path: Path) -> None:
    """Compare a file, or every file of a folder, with the sums recorded for them, if any were.

    Raises:
        ValueError: a file is not what it was, or is gone; the message names it.
    """
    if path.is_dir():
        sums = path / FOLDER_SUMS
        for name, digest in recorded(sums).items():
            if not (path / name).is_file():
                raise ValueError(f"{path / name}: is gone, but {sums} lists it; copy the folder again")
            _compare(path / name, digest, sums)
        return
    for sums in (sums_of_file(path), path.parent / FOLDER_SUMS):
        if path.name in (known := recorded(sums)):
            _compare(path, known[path.name], sums)


def _compare(path: Path, digest: str, sums: Path) -> None:
    if sha256(path) != digest:
        raise ValueError(
            f"{path}: has changed since its SHA-256 was written to {sums}: it is damaged; copy it again, "
            f"or delete {sums.name} if the change was meant"
        )


def verify_contents(files: dict[str, bytes], sums: bytes, origin: Path) -> None:
    """Compare files of an archive with its sums file.

    Raises:
        ValueError: a file is not what it was, or is gone; the message names it.
    """
    for name, digest in _parse(sums, origin / FOLDER_SUMS).items():
        if name not in files:
            raise ValueError(f"{origin}: has no {name}, but its {FOLDER_SUMS} lists it; copy it again")
        if hashlib.sha256(files[name]).hexdigest() != digest:
            raise ValueError(f"{origin}: its file {name} has changed since its SHA-256 was written; copy it again")


def sums_of_file(path: Path) -> Path:
    return path.with_name(path.name + FILE_SUFFIX)


def recorded(sums: Path) -> dict[str, str]:
    """File name -> SHA-256, as a sums file lists them; empty if there is no such file.

    Raises:
        ValueError: it is no sums file.
    """
    return _parse(sums.read_bytes(), sums) if sums.is_file() else {}


def _line(name: str, digest: str) -> str:
    escaped = "".join(ESCAPES.get(character, character) for character in name)
    return f"{'' if escaped == name else chr(92)}{digest}  {escaped}\n"


def _parse(content: bytes, sums: Path) -> dict[str, str]:
    found = {}
    for line in os.fsdecode(content.replace(b"\r\n", b"\n")).split("\n"):
        if not line.strip():
            continue
        match = LINE.fullmatch(line)
        name = (match["name"] or match["tagged"]) if match else ""
        if match and match[1]:
            name = re.sub(r"\\.", lambda escape: UNESCAPES.get(escape[0], escape[0]), name)
        path = PurePosixPath(name)  # without the ./ that may stand before it
        if not name or path.is_absolute() or ".." in path.parts or "\0" in name:
            raise ValueError(f"{sums}: damaged: expected '<SHA-256>  <file name>', got {line[:80]!r}")
        found[str(path)] = (match["sum"] or match["tagged_sum"]).lower()
    return found
