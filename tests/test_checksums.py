import os
import re
import subprocess

import pytest

from common import checksums


def test_a_folder_and_a_file_are_verified_and_sha256sum_agrees(tmp_path):
    folder, file = tmp_path / "folder", tmp_path / "file"
    folder.mkdir()
    for path in (folder / "a", folder / "b c", file):
        path.write_bytes(path.name.encode())
    checksums.record(folder)
    checksums.record(file)
    for path in (folder, file, folder / "b c"):
        checksums.verify(path)
    for sums in (folder / "SHA256SUMS", tmp_path / "file.sha256"):
        subprocess.run(["sha256sum", "-c", "--strict", sums.name], cwd=sums.parent, check=True, capture_output=True)


def test_a_changed_file_is_named(tmp_path):
    (tmp_path / "a").write_bytes(b"one")
    checksums.record(tmp_path)
    checksums.record(tmp_path / "a")
    (tmp_path / "a").write_bytes(b"two")
    for path in (tmp_path, tmp_path / "a"):
        with pytest.raises(ValueError, match="a: has changed since its SHA-256 was written to .*; copy it again"):
            checksums.verify(path)


def test_a_missing_file_is_named(tmp_path):
    (tmp_path / "a").write_bytes(b"one")
    checksums.record(tmp_path)
    (tmp_path / "a").unlink()
    with pytest.raises(ValueError, match="a: is gone"):
        checksums.verify(tmp_path)


def test_without_sums_there_is_nothing_to_compare(tmp_path):
    (tmp_path / "a").write_bytes(b"one")
    checksums.verify(tmp_path / "a")
    checksums.verify(tmp_path)


@pytest.mark.parametrize("flags", [["-b"], ["--tag"], []])
def test_what_sha256sum_writes_is_read(tmp_path, flags):
    names = ["a", "two  words", "*star", "back\\slash", "two\nlines", os.fsdecode(b"\xff\xfe"), "sub/inside", "(x) = y"]
    (tmp_path / "sub").mkdir()
    for name in names:
        (tmp_path / name).write_bytes(os.fsencode(name))
    for prefix, change in (("", bytes), ("./", bytes), ("", bytes.upper if not flags else bytes)):
        command = ["sha256sum", *flags, "--", *[prefix + name for name in names]]
        sums = subprocess.run(command, cwd=tmp_path, check=True, capture_output=True).stdout
        sums = re.sub(rb"\b[0-9a-f]{64}\b", lambda found: change(found[0]), sums)  # noqa: B023
        (tmp_path / "SHA256SUMS").write_bytes(sums)
        checksums.verify(tmp_path)
        for name in names:
            (tmp_path / name).write_bytes(b"changed")
            with pytest.raises(ValueError, match="has changed since its SHA-256"):
                checksums.verify(tmp_path)
            (tmp_path / name).write_bytes(os.fsencode(name))


def test_names_of_any_bytes_are_written_as_sha256sum_reads_them(tmp_path):
    for name in (os.fsdecode(b"\xff"), "two\nlines", "back\\slash"):
        (tmp_path / name).write_bytes(b"one")
    checksums.record(tmp_path)
    checksums.verify(tmp_path)
    assert len(checksums.fingerprint(tmp_path)) == 64
    subprocess.run(["sha256sum", "-c", "--strict", "SHA256SUMS"], cwd=tmp_path, check=True, capture_output=True)


@pytest.mark.parametrize(
    "line", ["no sum", "0" * 64 + "  ../a", "0" * 63 + "  a", "0" * 64 + "  /etc/x", "0" * 64 + "  "]
)
def test_a_damaged_sums_file_is_refused(tmp_path, line):
    (tmp_path / "SHA256SUMS").write_text(line)
    with pytest.raises(ValueError, match="SHA256SUMS: damaged"):
        checksums.verify(tmp_path)
