"""Archives that are hostile or damaged: refused in one line that names them, nothing written anywhere."""

import io
import lzma
import stat
import tarfile
import zipfile

import pytest

from fasttrain.data.sources import archive, open_source
from fasttrain.errors import DataError
from tests.data.trees import encoded, files_below, image, make_tar, make_zip, official

JPEG = encoded(image())
HOSTILE_NAMES = ["../train/a/1.jpg", "/train/a/1.jpg", "x/../../train/a/1.jpg", "C:/train/a/1.jpg", "train\\a\\1.jpg"]


def zip_of(path, members):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, data in members:
            file.writestr(name, data)
    return path


def tar_of(path, members):
    with tarfile.open(path, "w:xz") as file:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            file.addfile(info, io.BytesIO(data))
    return path


def refused(path, *words):
    before = sorted(path.parent.parent.rglob("*"))
    with pytest.raises(DataError) as caught:
        open_source(str(path)).index()
    message = str(caught.value)
    assert "\n" not in message and path.name in message
    assert all(word in message for word in words), message
    assert sorted(path.parent.parent.rglob("*")) == before


@pytest.mark.parametrize("name", HOSTILE_NAMES)
def test_names_that_lead_out_of_the_archive(tmp_path, name):
    members = [("train/a/0.jpg", JPEG), (name, JPEG)]
    refused(zip_of(tmp_path / "x.zip", members), "unsafe name")
    refused(tar_of(tmp_path / "x.tar.xz", members), "unsafe name")


def test_link_in_a_zip(tmp_path):
    info = zipfile.ZipInfo("train/a/1.jpg")
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    refused(zip_of(tmp_path / "x.zip", [(info, "/etc/passwd")]), "link")


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE])
def test_link_or_device_in_a_tar(tmp_path, kind):
    path = tmp_path / "x.tar.xz"
    with tarfile.open(path, "w:xz") as file:
        info = tarfile.TarInfo("train/a/1.jpg")
        info.type, info.linkname = kind, "/etc/passwd"
        file.addfile(info)
    refused(path, "train/a/1.jpg", "link or device")


def test_bombs(tmp_path, monkeypatch):
    monkeypatch.setattr(archive, "BOMB_SLACK", 1 << 20)
    zeros = bytes(3 << 20)
    refused(zip_of(tmp_path / "x.zip", [("train/a/1.jpg", zeros)]), "unpacks to over")
    refused(tar_of(tmp_path / "x.tar.xz", [("train/a/1.jpg", zeros)]), "unpacks to over")


def test_name_that_occurs_twice_in_a_zip(tmp_path):
    with pytest.warns(UserWarning, match="Duplicate name"):
        path = zip_of(tmp_path / "x.zip", [("train/a/1.jpg", JPEG), ("train/a/1.jpg", b"other")])
    refused(path, "train/a/1.jpg", "twice")


def test_parts_that_contradict_each_other(tmp_path):
    folder = tmp_path / "parts"
    folder.mkdir()
    tar_of(folder / "a.tar.xz", [("train/a/1.jpg", JPEG)])
    tar_of(folder / "b.tar.xz", [("train/a/1.jpg", JPEG), ("train/a/2.jpg", JPEG)])
    assert len(open_source(str(folder)).index().train) == 2
    tar_of(folder / "c.tar.xz", [("train/a/1.jpg", b"other")])
    with pytest.raises(DataError, match="c.tar.xz: train/a/1.jpg differs"):
        open_source(str(folder)).index()


@pytest.mark.parametrize("keep", [0.0, 0.3, 0.9, 0.999])
def test_cut_archives(tmp_path, keep):
    tree = official(tmp_path / "tree")
    for path in (make_zip(tmp_path / "x.zip", tree), make_tar(tmp_path / "x.tar.xz", tree)):
        data = path.read_bytes()
        path.write_bytes(data[:int(len(data) * keep)])
        refused(path, "cut")


def test_tar_whose_last_file_is_cut(tmp_path):
    tar = io.BytesIO()
    with tarfile.open(fileobj=tar, mode="w") as file:
        file.add(files_below(official(tmp_path / "tree"))[0], "train/a/1.jpg")
    path = tmp_path / "x.tar.xz"
    path.write_bytes(lzma.compress(tar.getvalue()[:600]))
    refused(path, "cut")


def test_flipped_bit_in_a_zip_member_is_found_by_its_crc(tmp_path):
    path = zip_of(tmp_path / "x.zip", [("train/a/1.jpg", JPEG)])
    data = bytearray(path.read_bytes())
    data[200] ^= 4
    path.write_bytes(data)
    item = open_source(str(path)).index().train[0]
    with pytest.raises(DataError, match="x.zip: train/a/1.jpg: damaged"):
        item.read()
