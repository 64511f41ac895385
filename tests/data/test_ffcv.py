"""What is FFCV's own: its file, a reader that fails instead of hanging, and what it must not do to the process."""

import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import numba
import numpy as np
import pytest
import torch

from fasttrain.config import Augment
from fasttrain.data.batch import LoaderSpec
from fasttrain.data.ffcv import beton
from fasttrain.data.loaders.ffcv import FfcvLoader, import_parts
from fasttrain.errors import ConfigError, DataError
from tests.helpers import make_split

AUGMENT = Augment(crop_padding=2, flip="random", cutout=3)


@pytest.fixture
def parts():
    """The module `ffcv.parts`; skips where FFCV is missing, unless FASTTRAIN_REQUIRE names it."""
    try:
        return import_parts()
    except ConfigError as error:
        if "ffcv" in os.environ.get("FASTTRAIN_REQUIRE", "").split(","):
            raise
        pytest.skip(str(error))


@pytest.fixture
def loader(parts):
    loader = FfcvLoader(LoaderSpec(make_split(40), 4, True, augment=AUGMENT))
    yield loader
    loader.close()


def written(split, folder):
    """(the path of the split's .beton below `folder`, what was said)."""
    said = []
    return beton.open_beton(split, folder, said.append), said


def reader_threads():
    return [thread for thread in threading.enumerate() if type(thread).__name__ == "Reader"]


@pytest.mark.parametrize("count, size", [(1, 16), (5, 16), (200, 64), (2, 900)])
def test_the_file_is_what_ffcv_itself_writes(parts, tmp_path, count, size):
    """Of several pages, of one, and of pages larger than the least."""
    from ffcv.fields import RGBImageField
    from ffcv.writer import DatasetWriter

    split = make_split(count, size)
    beton.write_beton(tmp_path / "ours", split)
    page = max(1 << 21, 1 << (3 * size**2 - 1).bit_length())
    writer = DatasetWriter(str(tmp_path / "theirs"), {"image": RGBImageField("raw")}, page, num_workers=1)
    writer.from_indexed_dataset([(split.pixels[row],) for row in split.rows])
    assert (tmp_path / "ours").read_bytes() == (tmp_path / "theirs").read_bytes()


def test_the_file_is_written_once(parts, tmp_path):
    path, said = written(make_split(9), tmp_path)
    assert said == [f"writing {path} once; later runs reuse it"]
    before = path.stat()
    os.utime(path, (1, 1))  # a copy has another time stamp and the same content
    assert written(make_split(9), tmp_path) == (path, [])
    assert path.stat().st_ino == before.st_ino
    assert written(make_split(9, classes=2), tmp_path)[0] != path


@pytest.mark.parametrize("size, start", [(None, 1 << 21), (-20, 0), (0, 0)])
def test_a_damaged_file_is_written_again(parts, tmp_path, size, start):
    """Zeroed pixels, a cut allocation table, nothing left."""
    split = make_split(9)
    path, _ = written(split, tmp_path)
    good = path.read_bytes()
    stamp = path.stat().st_mtime_ns
    path.write_bytes(good[:start] + bytes(99) + good[start + 99:] if size is None else good[:size])
    os.utime(path, ns=(stamp, stamp))  # a disk that forgets says nothing
    assert written(split, tmp_path) == (path, [f"{path}: altered or cut since it was written: writing it again"])
    assert path.read_bytes() == good


@pytest.mark.parametrize("damage", ["{", '{"schema": 0, "files": {}}'])
def test_a_damaged_manifest_is_written_again(parts, tmp_path, damage):
    path, _ = written(make_split(9), tmp_path)
    path.with_name("manifest.json").write_text(damage)
    _, (said,) = written(make_split(9), tmp_path)
    assert said.endswith("writing it again")
    assert written(make_split(9), tmp_path) == (path, [])


def test_a_lost_file_is_written_again(parts, tmp_path):
    path, _ = written(make_split(9), tmp_path)
    path.unlink()
    assert len(written(make_split(9), tmp_path)[1]) == 1 and path.exists()


def test_of_many_that_want_the_file_one_writes_it(parts, tmp_path):
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(lambda _: written(make_split(9), tmp_path), range(4)))
    assert len({path for path, _ in results}) == 1
    assert sum(len(said) for _, said in results) == 1


def test_a_cache_that_cannot_be_written_is_a_data_error(parts, tmp_path):
    (tmp_path / "ffcv").write_text("in the way")
    with pytest.raises(DataError, match="ffcv: cannot write"):
        written(make_split(9), tmp_path)


def test_a_reader_that_fails_is_a_data_error(parts, loader, monkeypatch):
    def fail(*_):
        raise ValueError("no such page\nand more")

    monkeypatch.setattr(parts, "read_batch", fail)
    with pytest.raises(DataError, match=r"images.beton: FFCV's reader failed \(no such page\): delete this file"):
        list(loader)
    assert reader_threads() == []
    monkeypatch.undo()
    assert len(list(loader)) == 10


def test_a_reader_that_hangs_is_a_data_error(parts, loader, monkeypatch):
    release = threading.Event()
    monkeypatch.setattr(parts, "read_batch", lambda *_: release.wait(30))
    monkeypatch.setattr(parts, "PATIENCE", 0.1)
    monkeypatch.setattr(parts, "LAST_BATCH", 0.1)
    with pytest.raises(DataError, match="images.beton: FFCV delivered nothing for 0.1 s"):
        list(loader)
    release.set()
    for thread in reader_threads():
        thread.join(10)
    assert reader_threads() == []


def test_two_iterations_at_once_keep_their_epochs(loader):
    expected = {}
    for epoch in (0, 1):
        loader.set_epoch(epoch)
        expected[epoch] = [batch.images for batch in loader]
    loader.set_epoch(0)
    first = iter(loader)
    next(first)
    loader.set_epoch(1)
    for images, batch in zip(expected[1], loader, strict=True):
        np.testing.assert_array_equal(batch.images, images)
    for images, batch in zip(expected[0][1:], first, strict=True):
        np.testing.assert_array_equal(batch.images, images)


def test_ending_an_iteration_ends_its_thread(loader):
    for taken in (1, 5):  # of 10: it is still some batches ahead
        batches = iter(loader)
        for _ in range(taken):
            next(batches)
        assert len(reader_threads()) == 1
        batches.close()
        assert reader_threads() == []


def test_batches_go_to_another_device(parts):
    """`meta` stands for a GPU: the way of the batches is the same, their content is not kept."""
    split = make_split(7)
    loader = FfcvLoader(LoaderSpec(split, 4, True, device="meta"))
    batches = list(loader)
    assert {tensor.device.type for batch in batches for tensor in batch[:3]} == {"meta"}
    assert [tuple(batch.images.shape) for batch in batches] == [(4, 16, 16, 3), (3, 16, 16, 3)]
    loader.close()


def test_the_threads_of_torch_and_the_types_of_numba_stay_as_they_are(parts):
    threads, kind = torch.get_num_threads(), numba.uint8[::1]
    torch.set_num_threads(threads + 1)
    try:
        loader = FfcvLoader(LoaderSpec(make_split(7), 4, True))
        list(loader)
        assert torch.get_num_threads() == threads + 1
        assert kind.mutable
        loader.close()
    finally:
        torch.set_num_threads(threads)


def test_importing_ffcv_changes_nothing_either(parts):
    script = """
import numba, torch
from fasttrain.data.loaders.ffcv import import_parts
torch.set_num_threads(3)
import_parts()
assert torch.get_num_threads() == 3
assert numba.get_num_threads() == numba.config.NUMBA_NUM_THREADS
assert not numba.config.DISABLE_JIT
"""
    environment = {**os.environ, "NUMBA_NUM_THREADS": "2"}
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120, env=environment)
    assert done.returncode == 0, done.stderr


def test_without_ffcv_the_error_names_the_script(monkeypatch):
    monkeypatch.delitem(sys.modules, "fasttrain.data.ffcv.imports", raising=False)
    monkeypatch.setitem(sys.modules, "ffcv", None)
    with pytest.raises(ConfigError, match="loader ffcv: cannot import FFCV .*scripts/install_ffcv"):
        FfcvLoader(LoaderSpec(make_split(4), 2, True))
