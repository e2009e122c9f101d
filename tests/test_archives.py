import io
import os
import struct
import tarfile
import tracemalloc
import zipfile

import numpy as np
import pytest

from models.weights import archives
from models.weights.archives import flat_tar_files, is_tar, tar_files, zip_files


def make_tar(path, *members, mode="w:gz"):
    """A tar of (name, bytes or {TarInfo attribute: value})."""
    with tarfile.open(path, mode) as archive:
        for name, content in members:
            info = tarfile.TarInfo(name)
            if isinstance(content, bytes):
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
            else:
                vars_of = {"type": tarfile.SYMTYPE, **content}
                for attribute, value in vars_of.items():
                    setattr(info, attribute, value)
                archive.addfile(info)
    return path


@pytest.mark.parametrize("mode", ["w:gz", "w"])
def test_files_come_out_with_their_names(tmp_path, mode):
    path = make_tar(tmp_path / "weights", ("folder/a", b"one"), ("folder/b", b"two"), mode=mode)
    assert is_tar(path)
    assert [(str(name), content) for name, content in tar_files(path)] == [("folder/a", b"one"), ("folder/b", b"two")]


def test_files_come_out_as_one_folder(tmp_path):
    path = make_tar(tmp_path / "weights", ("folder/a", b"one"), ("folder/._a", b"attributes"), ("folder/b", b"two"))
    assert list(flat_tar_files(path)) == [("a", b"one"), ("b", b"two")]
    with pytest.raises(ValueError, match="twice: holds two files of the name a"):
        list(flat_tar_files(make_tar(tmp_path / "twice", ("x/a", b"one"), ("y/a", b"two"))))


@pytest.mark.parametrize("name, content, reason", [
    ("../outside", b"x", "would lie outside"),
    ("folder/../../outside", b"x", "would lie outside"),
    ("/outside", b"x", "would lie outside"),
    ("folder\\..\\outside", b"x", "would lie outside"),
    ("C:outside", b"x", "would lie outside"),
    ("link", {"linkname": "/etc/passwd"}, "is a link or a device"),
    ("link", {"type": tarfile.LNKTYPE, "linkname": "../a"}, "is a link or a device"),
    ("device", {"type": tarfile.CHRTYPE}, "is a link or a device"),
    ("pipe", {"type": tarfile.FIFOTYPE}, "is a link or a device"),
])  # fmt: skip
def test_unsafe_members_are_refused(tmp_path, name, content, reason):
    path = make_tar(tmp_path / "unsafe.tar.gz", ("good", b"x"), (name, content))
    with pytest.raises(ValueError, match=f"unsafe.tar.gz: .*{reason}"):
        list(tar_files(path))


def test_a_member_that_claims_too_much_is_refused_before_it_is_read(tmp_path):
    header = tarfile.TarInfo("bomb")
    header.size = 1 << 40
    (tmp_path / "bomb.tar").write_bytes(header.tobuf() + b"\0" * 1024)
    with pytest.raises(ValueError, match="bomb.tar: .*claims 1099511627776 bytes"):
        list(tar_files(tmp_path / "bomb.tar"))


def test_a_tar_that_unpacks_to_too_much_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(archives, "MAX_UNPACKED_BYTES", 100_000)
    path = make_tar(tmp_path / "bomb.tar.gz", *[(f"zeros{i}", bytes(30_000)) for i in range(9)])
    assert path.stat().st_size < 1000
    with pytest.raises(ValueError, match="bomb.tar.gz: .*unpacks to more than 100000 bytes"):
        list(tar_files(path))
    long_name = tarfile.TarInfo("././@LongLink")  # tarfile itself reads such a header's data into memory
    long_name.type, long_name.size = tarfile.GNUTYPE_LONGNAME, 10_000_000
    (tmp_path / "name.tar").write_bytes(long_name.tobuf() + bytes(10_000_384))
    with pytest.raises(ValueError, match="name.tar: .*unpacks to more"):
        list(tar_files(tmp_path / "name.tar"))


def test_a_zip_that_unpacks_to_too_much_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(archives, "MAX_UNPACKED_BYTES", 100_000)
    with zipfile.ZipFile(tmp_path / "bomb.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("zeros.npy", bytes(200_000))
    with pytest.raises(ValueError, match="bomb.npz: .*claims to unpack to 200000 bytes"):
        zip_files(tmp_path / "bomb.npz")


def test_a_zip_member_is_read_in_memory_whatever_its_name(tmp_path):
    with zipfile.ZipFile(tmp_path / "odd.npz", "w") as archive:
        archive.writestr("../outside.npy", b"x")
    assert zip_files(tmp_path / "odd.npz") == {"../outside.npy": b"x"}
    assert os.listdir(tmp_path) == ["odd.npz"]


@pytest.mark.parametrize("keep", [0.1, 0.5, 0.9, 0.999])
def test_cut_archives_are_refused(tmp_path, keep):
    noise = np.random.default_rng(0).bytes(50_000)
    path = make_tar(tmp_path / "cut.tar.gz", ("a", noise), ("b", noise))
    path.write_bytes(path.read_bytes()[: int(keep * path.stat().st_size)])
    with pytest.raises(ValueError, match="cut.tar.gz: damaged"):
        list(tar_files(path))
    with zipfile.ZipFile(tmp_path / "cut.npz", "w") as archive:
        archive.writestr("a", noise)
    path = tmp_path / "cut.npz"
    path.write_bytes(path.read_bytes()[: int(keep * path.stat().st_size)])
    with pytest.raises(ValueError, match="cut.npz: damaged"):
        zip_files(path)


def test_a_wrong_sum_at_the_end_of_gzip_is_found(tmp_path):
    path = make_tar(tmp_path / "sum.tar.gz", ("a", b"content"))
    content = bytearray(path.read_bytes())
    content[-8] ^= 1
    path.write_bytes(content)
    with pytest.raises(ValueError, match="sum.tar.gz: damaged"):
        list(tar_files(path))


def test_a_sparse_member_is_refused(tmp_path):
    """Its holes become zeros: 2,560 bytes would unpack to 4.8 GB."""
    info = tarfile.TarInfo("weights/fc")
    info.type = tarfile.GNUTYPE_SPARSE
    header = bytearray(info.tobuf(tarfile.GNU_FORMAT))
    header[386:410] = b"%011o\0%011o\0" % (4 << 30, 0)  # where the only piece lies, and its length
    header[483:495] = b"%011o\0" % (4 << 30)
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    (tmp_path / "sparse.tar").write_bytes(bytes(header) + bytes(2048))
    with pytest.raises(ValueError, match="sparse.tar: .*'weights/fc' is a sparse file"):
        list(tar_files(tmp_path / "sparse.tar"))


@pytest.mark.parametrize("key", ["comment", "GNU.sparse.map"])
def test_headers_are_limited_too(tmp_path, key):
    """They are read into memory, and a few of them are made into lists."""
    with tarfile.open(tmp_path / "x.tar.gz", "w:gz", format=tarfile.PAX_FORMAT) as archive:
        info = tarfile.TarInfo("a")
        info.pax_headers = {key: "0," * 1_000_000 + "0"}
        archive.addfile(info)
    with pytest.raises(ValueError, match="x.tar.gz: .*unpacks to more than 1048576 bytes"):
        list(tar_files(tmp_path / "x.tar.gz"))


@pytest.mark.parametrize("size", [-1, -512, -(1 << 40)])
def test_a_member_of_less_than_nothing_is_refused(tmp_path, size):
    info = tarfile.TarInfo("a")
    info.size = size
    (tmp_path / "x.tar").write_bytes(info.tobuf(tarfile.GNU_FORMAT) + bytes(2048))
    with pytest.raises(ValueError, match="x.tar: "):
        list(tar_files(tmp_path / "x.tar"))


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_methods_that_unpack_in_one_go_are_refused(tmp_path, method):
    with zipfile.ZipFile(tmp_path / "x.npz", "w", method) as archive:
        archive.writestr("a.npy", bytes(1000))
    with pytest.raises(ValueError, match="x.npz: .*packs 'a.npy' by another method than deflate"):
        zip_files(tmp_path / "x.npz")


def test_a_member_that_is_larger_than_it_claims_fills_no_memory(tmp_path):
    num_bytes = 64 << 20
    with zipfile.ZipFile(tmp_path / "x.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.npy", bytes(num_bytes))
    content = (tmp_path / "x.npz").read_bytes()
    (tmp_path / "x.npz").write_bytes(content.replace(num_bytes.to_bytes(4, "little"), (10).to_bytes(4, "little")))
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match="x.npz: damaged archive"):
            zip_files(tmp_path / "x.npz")
        assert tracemalloc.get_traced_memory()[1] < num_bytes / 8
    finally:
        tracemalloc.stop()


def test_a_member_without_a_name_is_refused(tmp_path):
    local = struct.pack("<4sHHHHHIIIHH", b"PK\3\4", 20, 0, 0, 0, 0, 0, 0, 0, 0, 0)
    entry = struct.pack("<4sHHHHHHIIIHHHHHII", b"PK\1\2", 20, 20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)
    end = struct.pack("<4sHHHHIIH", b"PK\5\6", 0, 0, 1, 1, len(entry), len(local), 0)
    (tmp_path / "x.npz").write_bytes(local + entry + end)
    with pytest.raises(ValueError, match="x.npz: .*has a member without a name"):
        zip_files(tmp_path / "x.npz")
