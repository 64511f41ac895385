"""Downloads the official Tiny-ImageNet archive: resumes what was cut, and keeps nothing whose checksum is wrong."""

import hashlib
import http.client
import time
import urllib.error
import urllib.request
from pathlib import Path

from rich.progress import DownloadColumn, TransferSpeedColumn

from fasttrain.data.progress import progress_bar
from fasttrain.errors import ConfigError, DataError
from fasttrain.storage import CACHE, cache_dir, locked, make_folder, move_into_place, need_space, writing

OFFICIAL_URL = "http://cs231n.stanford.edu/tiny-imagenet-200.zip"
OFFICIAL_MD5 = "90528d7ca1a48142e341f4ef8d21d0de"
OFFICIAL_SIZE = 248_100_043

ATTEMPTS = 4
PAUSE = 1.0  # seconds before the second attempt; doubles
TIMEOUT = 30.0  # seconds without a byte
BLOCK = 1 << 18


class Cut(Exception):
    """A transfer that ended early; another attempt may get further."""


def fetch(url: str = OFFICIAL_URL, md5: str = OFFICIAL_MD5, size: int = OFFICIAL_SIZE, to: str | Path | None = None,
          progress: bool = True) -> Path:
    """Downloads `url` into the folder `to` (default: the user cache) and returns the file's Path.

    A file that is there already with the right checksum is kept. Until size (bytes) and md5 (hex) are right the data
    lies in a `.part` file, which the next attempt continues if the server can. Raises DataError if the server does not
    deliver, the checksum is wrong or the disk is full.
    """
    if not url.startswith(("http://", "https://")):
        raise ConfigError(f"{url}: expected an http:// or https:// address")
    folder = Path(to or cache_dir())
    make_folder(folder)
    target = folder / url.rstrip("/").rpartition("/")[2]
    part = target.with_name(f"{target.name}.part")
    with locked(target.with_name(f"{target.name}.lock")):
        if _is_right(target, md5, size):
            return target
        need_space(folder, size - _length(part))
        with progress_bar(progress, DownloadColumn(), TransferSpeedColumn()) as bar:
            task = bar.add_task(target.name, total=size)
            _download(url, part, size, lambda done: bar.update(task, completed=done))
        if not _is_right(part, md5, size):
            part.unlink()
            raise DataError(f"{url}: what came has a wrong checksum, not md5 {md5}, and was removed: try again later")
        with writing(target, CACHE):
            move_into_place(part, target)
    return target


def _download(url, part, size, on_progress):
    """Fills `part` up to `size` bytes, in as many attempts as make sense."""
    for attempt in range(ATTEMPTS):
        if attempt:
            time.sleep(PAUSE * 2 ** (attempt - 1))
        try:
            return _transfer(url, part, size, on_progress)
        except Cut as error:
            problem = error
    raise DataError(f"{url}: {problem} ({_length(part):,} of {size:,} bytes are here): run it again to continue")


def _transfer(url, part, size, on_progress):
    """One request for what `part` lacks; raises Cut if it ended early, DataError if another attempt is no use."""
    if (done := _length(part)) > size:
        part.unlink()
        done = 0
    if done == size:
        return
    with _request(url, done) as response:
        mode = "ab"
        if not response.headers.get("Content-Range", "").startswith(f"bytes {done}-"):
            mode, done = "wb", 0  # the server cannot continue: it sends all of it
        offered = done + int(response.headers.get("Content-Length", size - done))
        if offered != size:
            raise DataError(f"{url}: the server offers {offered:,} bytes, not {size:,}: not the file expected")
        with writing(part, CACHE), open(part, mode) as file:
            for block in _blocks(response):
                file.write(block)
                done += len(block)
                on_progress(done)
    if done != size:
        raise Cut("the transfer was cut")


def _request(url, start):
    """Returns the open response to a request for the bytes from `start` on."""
    headers = {"User-Agent": "fasttrain", **({"Range": f"bytes={start}-"} if start else {})}
    try:
        return urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=TIMEOUT)
    except urllib.error.HTTPError as error:
        answer = f"the server answers {error.code} {error.reason}"
        if error.code < 500:
            raise DataError(f"{url}: {answer}: check the address") from error
        raise Cut(answer) from error
    except (OSError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", error)
        raise Cut(f"cannot connect ({getattr(reason, 'strerror', None) or reason})") from error


def _blocks(response):
    try:
        while block := response.read(BLOCK):
            yield block
    except (OSError, http.client.HTTPException) as error:
        raise Cut(f"the transfer was cut ({error})") from error


def _length(path):
    return path.stat().st_size if path.exists() else 0


def _is_right(path, md5, size):
    if _length(path) != size:
        return False
    with open(path, "rb") as file:
        digest = hashlib.md5(usedforsecurity=False)
        while block := file.read(BLOCK):
            digest.update(block)
    return digest.hexdigest() == md5.lower()
