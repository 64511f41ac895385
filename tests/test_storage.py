"""Where things lie, locks, atomic folders; the system's refusals as one line with a remedy."""

import errno
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numba
import pytest

from fasttrain import storage
from fasttrain.errors import DataError


def test_cache_dir_order(tmp_path, monkeypatch):
    monkeypatch.setenv("FASTTRAIN_CACHE", str(tmp_path / "chosen"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    monkeypatch.setenv("HOME", str(tmp_path))
    assert storage.cache_dir() == tmp_path / "chosen"
    monkeypatch.delenv("FASTTRAIN_CACHE")
    assert storage.cache_dir() == tmp_path / "xdg" / "fasttrain"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert storage.cache_dir() == tmp_path / ".cache" / "fasttrain"


@pytest.mark.parametrize("home", ["missing", "locked"])
def test_home_that_is_missing_or_cannot_be_written(tmp_path, monkeypatch, home):
    for name in ("FASTTRAIN_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / home))
    (tmp_path / "locked").mkdir()
    monkeypatch.setattr(os, "access", lambda *_: False)  # permissions do not bind root, who may run this
    assert storage.cache_dir() == Path(tempfile.gettempdir()) / f"fasttrain-{os.getuid()}"


def test_cache_that_is_a_file(tmp_path):
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(DataError, match="set FASTTRAIN_CACHE"):
            storage.make_folder(path)


@pytest.mark.parametrize("number, words", [
    (errno.ENOSPC, "no space left"), (errno.EDQUOT, "no space left"), (errno.EFBIG, "no space left"),
    (errno.EROFS, "read-only file system"), (errno.EACCES, "permission denied"), (errno.EIO, "Input/output error"),
])
def test_system_errors_become_one_line(number, words):
    with pytest.raises(DataError, match=f"somewhere: .*{words}"), storage.clear_errors("somewhere"):
        raise OSError(number, os.strerror(number))


def test_need_space(tmp_path):
    storage.need_space(tmp_path, 1)
    with pytest.raises(DataError, match="needs 931322574.62 GiB"):
        storage.need_space(tmp_path, 10**18)


def test_atomic_folder_appears_whole_or_not_at_all(tmp_path):
    target = tmp_path / "target"
    with pytest.raises(ValueError), storage.atomic_folder(target) as folder:
        (folder / "half").write_text("half")
        raise ValueError
    assert list(tmp_path.iterdir()) == []
    for text in ("first", "second"):
        with storage.atomic_folder(target) as folder:
            (folder / "file").write_text(text)
            assert text == "first" or (target / "file").read_text() == "first"
        assert (target / "file").read_text() == text and list(tmp_path.iterdir()) == [target]


def test_atomic_folder_removes_what_a_killed_build_left(tmp_path):
    script = ("import os, sys; from pathlib import Path; from fasttrain.storage import atomic_folder\n"
              "with atomic_folder(Path(sys.argv[1])) as folder:\n"
              "    (folder / 'half').write_text('half'); os._exit(9)")
    assert subprocess.run([sys.executable, "-c", script, str(tmp_path / "target")]).returncode == 9
    assert len(list(tmp_path.iterdir())) == 1
    with storage.atomic_folder(tmp_path / "target") as folder:
        assert list(folder.iterdir()) == []
    assert list(tmp_path.iterdir()) == [tmp_path / "target"]


def test_atomic_write_keeps_the_old_file_on_failure(tmp_path, monkeypatch):
    path = tmp_path / "file"
    storage.atomic_write(path, b"old")
    monkeypatch.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(OSError(errno.ENOSPC, "full")))
    with pytest.raises(OSError):
        storage.atomic_write(path, b"new")
    assert path.read_bytes() == b"old" and list(tmp_path.iterdir()) == [path]


def test_locked_tells_once_that_it_waits(tmp_path):
    lock, told = tmp_path / "lock", []
    script = ("import sys; from pathlib import Path; from fasttrain.storage import locked\n"
              "with locked(Path(sys.argv[1])): print('held', flush=True); sys.stdin.read()")
    holder = subprocess.Popen([sys.executable, "-c", script, str(lock)],
                              stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout.readline() == "held\n"

        def on_wait():
            told.append("waiting")
            holder.stdin.close()

        with storage.locked(lock, on_wait):
            assert told == ["waiting"]
    finally:
        holder.kill()
        holder.wait()
        holder.stdout.close()
    with storage.locked(lock, on_wait):
        assert told == ["waiting"]


@pytest.mark.parametrize("chosen, writable, expected",
                         [("", False, "numba"), ("", True, ""), ("/mine", False, "/mine")])
def test_kernels_are_kept_somewhere(tmp_path, monkeypatch, chosen, writable, expected):
    monkeypatch.setenv("FASTTRAIN_CACHE", str(tmp_path))
    monkeypatch.setattr(numba.config, "CACHE_DIR", chosen)
    monkeypatch.setattr(storage.os, "access", lambda *_: writable)
    storage.use_kernel_cache()
    assert (str(tmp_path / expected) if expected == "numba" else expected) == numba.config.CACHE_DIR
