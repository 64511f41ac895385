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
    (errno.ENOSPC, "No space left"), (errno.EDQUOT, "No space left"), (errno.EFBIG, "No space left"),
    (errno.EROFS, "Read-only file system"), (errno.EACCES, "Permission denied"), (errno.EIO, "Input/output error"),
])
def test_system_errors_become_one_line_that_ends_in_what_to_do(number, words):
    with pytest.raises(DataError, match=f"^somewhere: .*{words}.*choose another --out$"), storage.writing("somewhere"):
        raise OSError(number, os.strerror(number))


def test_the_names_of_new_folders_are_flushed_to_the_disk(tmp_path, monkeypatch):
    flushed = []
    monkeypatch.setattr(storage, "sync", flushed.append)
    for _ in range(2):
        storage.make_folder(tmp_path / "a" / "b")
    assert sorted(flushed) == [tmp_path, tmp_path / "a"] and (tmp_path / "a" / "b").is_dir()


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


def test_atomic_folder_keeps_the_old_one_where_the_new_one_cannot_take_its_place(tmp_path, monkeypatch):
    target, rename = tmp_path / "target", Path.rename
    with storage.atomic_folder(target) as folder:
        (folder / "file").write_text("old")
    monkeypatch.setattr(Path, "rename", lambda path, to: (_ for _ in ()).throw(OSError(errno.EIO, "broken"))
                        if path.name == "target.new.tmp" else rename(path, to))
    with pytest.raises(DataError, match="broken"), storage.atomic_folder(target):
        pass
    assert (target / "file").read_text() == "old" and list(tmp_path.iterdir()) == [target]


def test_atomic_folder_removes_what_a_killed_build_left(tmp_path):
    script = ("import os, sys; from pathlib import Path; from fasttrain.storage import atomic_folder\n"
              "with atomic_folder(Path(sys.argv[1])) as folder:\n"
              "    (folder / 'half').write_text('half'); os._exit(9)")
    assert subprocess.run([sys.executable, "-c", script, str(tmp_path / "target")]).returncode == 9
    assert len(list(tmp_path.iterdir())) == 1
    with storage.atomic_folder(tmp_path / "target") as folder:
        assert list(folder.iterdir()) == []
    assert list(tmp_path.iterdir()) == [tmp_path / "target"]


@pytest.mark.parametrize("content", ["text", b"bytes", memoryview(b"memory")])
def test_a_file_is_written_whole(tmp_path, content):
    storage.write_atomically(tmp_path / "file", content)
    expected = content.encode() if isinstance(content, str) else bytes(content)
    assert (tmp_path / "file").read_bytes() == expected and list(tmp_path.iterdir()) == [tmp_path / "file"]


@pytest.mark.parametrize("links", [True, False])
def test_what_a_file_held_before_is_kept_if_asked(tmp_path, monkeypatch, links):
    if not links:  # as on some network disks
        monkeypatch.setattr(os, "link", lambda *_: (_ for _ in ()).throw(OSError(errno.EPERM, "not permitted")))
    path, former = tmp_path / "file", tmp_path / "former"
    storage.write_atomically(path, "1", former=former)
    assert not former.exists()
    for number in (2, 3):
        storage.write_atomically(path, str(number), former=former)
        assert (path.read_text(), former.read_text()) == (str(number), str(number - 1))
    assert sorted(os.listdir(tmp_path)) == ["file", "former"]


def test_what_was_kept_already_when_a_crash_came_is_kept_again(tmp_path):
    path, former = tmp_path / "file", tmp_path / "former"
    path.write_text("1")
    os.link(path, former)
    storage.write_atomically(path, "2", former=former)
    assert (path.read_text(), former.read_text()) == ("2", "1")
    assert sorted(os.listdir(tmp_path)) == ["file", "former"]


@pytest.mark.parametrize("call", ["open", "fsync", "replace"])
def test_a_failed_write_keeps_the_old_file_and_leaves_nothing_beside_it(tmp_path, monkeypatch, call):
    path = tmp_path / "file"
    storage.write_atomically(path, "old")
    monkeypatch.setattr(os, call, lambda *_: (_ for _ in ()).throw(OSError(errno.EIO, "broken")))
    with pytest.raises(DataError, match="file: cannot write: broken; set FASTTRAIN_CACHE"):
        storage.write_atomically(path, "new", storage.CACHE)
    assert path.read_text() == "old" and os.listdir(tmp_path) == ["file"]


def test_the_file_and_then_its_name_are_flushed_to_the_disk(tmp_path, monkeypatch):
    done, replace, sync = [], os.replace, storage.sync
    monkeypatch.setattr(storage, "sync", lambda path: done.append(path.suffix) or sync(path))
    monkeypatch.setattr(os, "replace", lambda *paths: done.append("renamed") or replace(*paths))
    storage.write_atomically(tmp_path / "file", "text")
    assert done == [".tmp", "renamed", ""]


@pytest.fixture
def holder(tmp_path):
    """A process that holds tmp_path/lock until its standard input is closed."""
    script = ("import sys; from pathlib import Path; from fasttrain.storage import locked\n"
              "with locked(Path(sys.argv[1])): print('held', flush=True); sys.stdin.read()")
    process = subprocess.Popen([sys.executable, "-c", script, str(tmp_path / "lock")],
                               stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.wait()
    process.stdin.close()
    process.stdout.close()


def test_a_lock_that_is_held_is_waited_for_and_that_is_told_once(tmp_path, holder):
    told = []

    def on_busy():
        told.append("waiting")
        holder.stdin.close()

    for _ in range(2):
        with storage.locked(tmp_path / "lock", on_busy):
            assert told == ["waiting"]


def test_a_lock_that_is_held_names_its_holder(tmp_path, holder):
    lock = storage.Lock(tmp_path / "lock")
    with pytest.raises(storage.Busy, match=f"^process {holder.pid} on "):
        lock.take()
    holder.kill()  # the kernel lets go of what it held
    holder.wait()
    lock.take()
    lock.release()


@pytest.mark.parametrize("chosen, writable, expected",
                         [("", False, "numba"), ("", True, ""), ("/mine", False, "/mine")])
def test_kernels_are_kept_somewhere(tmp_path, monkeypatch, chosen, writable, expected):
    monkeypatch.setenv("FASTTRAIN_CACHE", str(tmp_path))
    monkeypatch.setattr(numba.config, "CACHE_DIR", chosen)
    monkeypatch.setattr(storage.os, "access", lambda *_: writable)
    storage.use_kernel_cache()
    assert (str(tmp_path / expected) if expected == "numba" else expected) == numba.config.CACHE_DIR


def test_a_path_that_the_locale_cannot_decode_is_written_as_its_bytes(tmp_path):
    name = b"r\xfcn".decode("ascii", "surrogateescape")
    storage.write_atomically(tmp_path / "card.md", f"folder {name}")
    assert (tmp_path / "card.md").read_bytes() == b"folder r\xfcn"
