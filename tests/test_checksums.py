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


@pytest.mark.parametrize("line", ["no sum", "0" * 64 + "  ../a", "0" * 63 + "  a"])
def test_a_damaged_sums_file_is_refused(tmp_path, line):
    (tmp_path / "SHA256SUMS").write_text(line)
    with pytest.raises(ValueError, match="SHA256SUMS: damaged"):
        checksums.verify(tmp_path)
