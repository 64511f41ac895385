"""Downloads against a local server: resumed, cut, refused, altered; a wrong file is never used."""

import hashlib
import http.server
import re
import threading

import pytest

from fasttrain.data import fetch as module
from fasttrain.data.fetch import OFFICIAL_MD5, OFFICIAL_SIZE, OFFICIAL_URL, fetch
from fasttrain.errors import ConfigError, DataError

CONTENT = bytes(range(256)) * 4000
MD5 = hashlib.md5(CONTENT).hexdigest()


class Handler(http.server.BaseHTTPRequestHandler):
    """Serves `server.content` as `server.script` says, one entry for each request: how many bytes, or a status."""

    def do_GET(self):
        server = self.server
        server.ranges.append(self.headers.get("Range"))
        step = server.script.pop(0) if server.script else None
        if step is not None and step >= 400 and step < 600:
            self.send_error(step)
            return
        start = int(re.match(r"bytes=(\d+)-", self.headers["Range"])[1]) if "Range" in self.headers else 0
        if not server.resumes:
            start = 0
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(server.content) - 1}/{len(server.content)}")
        self.send_header("Content-Length", str(len(server.content) - start))
        self.end_headers()
        end = len(server.content) if step is None else start + step
        self.wfile.write(server.content[start:end])

    def log_message(self, *_):
        pass


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setattr(module, "PAUSE", 0.0)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        running.content, running.script, running.ranges, running.resumes = CONTENT, [], [], True
        threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        yield running
        running.shutdown()


def get(server, folder, **options):
    url = f"http://127.0.0.1:{server.server_address[1]}/data.zip"
    return fetch(**{"url": url, "md5": MD5, "size": len(CONTENT), "to": folder, **options})


def fails(server, folder, *words, error=DataError, **options):
    with pytest.raises(error) as caught:
        get(server, folder, **options)
    message = str(caught.value)
    assert "\n" not in message and all(word in message for word in words), message
    assert not (folder / "data.zip").exists()


def visible(folder):
    return sorted(path.name for path in folder.iterdir() if path.suffix != ".lock")


def test_download(server, tmp_path):
    path = get(server, tmp_path / "new" / "folder")
    assert path.read_bytes() == CONTENT and visible(path.parent) == ["data.zip"]
    assert server.ranges == [None]


def test_file_that_is_there_is_kept(server, tmp_path):
    get(server, tmp_path)
    get(server, tmp_path)
    assert len(server.ranges) == 1


def test_a_checksum_may_be_in_capitals(server, tmp_path):
    assert get(server, tmp_path, md5=MD5.upper()).read_bytes() == CONTENT


def test_file_that_is_there_but_wrong_is_replaced(server, tmp_path):
    (tmp_path / "data.zip").write_bytes(CONTENT[:-1] + b"?")
    assert get(server, tmp_path).read_bytes() == CONTENT


def test_cut_transfer_goes_on_where_it_stopped(server, tmp_path):
    server.script = [1000, 700_000]
    assert get(server, tmp_path).read_bytes() == CONTENT
    assert server.ranges == [None, "bytes=1000-", "bytes=701000-"]


def test_part_of_an_earlier_call_is_continued(server, tmp_path):
    (tmp_path / "data.zip.part").write_bytes(CONTENT[:5000])
    assert get(server, tmp_path).read_bytes() == CONTENT
    assert server.ranges == ["bytes=5000-"]


def test_part_that_is_complete_is_not_asked_for_again(server, tmp_path):
    (tmp_path / "data.zip.part").write_bytes(CONTENT)
    assert get(server, tmp_path).read_bytes() == CONTENT and server.ranges == []


def test_part_that_is_too_long_is_dropped(server, tmp_path):
    (tmp_path / "data.zip.part").write_bytes(CONTENT + b"more")
    assert get(server, tmp_path).read_bytes() == CONTENT and server.ranges == [None]


def test_server_that_cannot_resume_sends_all(server, tmp_path):
    server.resumes, server.script = False, [1000]
    assert get(server, tmp_path).read_bytes() == CONTENT


def test_transfer_that_is_always_cut_keeps_its_part(server, tmp_path):
    server.script = [10, 10, 10, 10]
    fails(server, tmp_path, "cut", "40 of 1,024,000 bytes", "run it again to continue")
    assert (tmp_path / "data.zip.part").read_bytes() == CONTENT[:40]
    assert get(server, tmp_path).read_bytes() == CONTENT


def test_wrong_checksum_is_never_used(server, tmp_path):
    server.content = CONTENT[:-1] + b"?"
    fails(server, tmp_path, "wrong checksum", MD5)
    assert visible(tmp_path) == []


def test_damaged_part_is_found_in_the_end(server, tmp_path):
    (tmp_path / "data.zip.part").write_bytes(b"?" * 5000)
    fails(server, tmp_path, "wrong checksum")
    assert get(server, tmp_path).read_bytes() == CONTENT


def test_server_error_is_tried_again(server, tmp_path):
    server.script = [503, 500]
    assert get(server, tmp_path).read_bytes() == CONTENT


def test_server_that_stays_in_error(server, tmp_path):
    server.script = [500] * 4
    fails(server, tmp_path, "the server answers 500")
    assert len(server.ranges) == 4


def test_missing_file_is_not_tried_again(server, tmp_path):
    server.script = [404]
    fails(server, tmp_path, "404", "check the address")
    assert len(server.ranges) == 1


def test_file_of_another_size_is_refused_before_it_is_loaded(server, tmp_path):
    server.content = CONTENT * 2
    fails(server, tmp_path, "offers 2,048,000 bytes, not 1,024,000")


def test_no_server(server, tmp_path):
    fails(server, tmp_path, "cannot connect", url="http://127.0.0.1:9/data.zip")


def test_address_that_is_no_http(server, tmp_path):
    fails(server, tmp_path, "http://", url="file:///etc/passwd", error=ConfigError)


def test_folder_that_cannot_be_written(server, tmp_path):
    (tmp_path / "file").write_text("")
    fails(server, tmp_path / "file" / "below", "cannot write")


def test_no_space(server, tmp_path, monkeypatch):
    def full(folder, size):
        raise DataError(f"{folder}: needs {size}")

    monkeypatch.setattr(module, "need_space", full)
    (tmp_path / "data.zip.part").write_bytes(CONTENT[:24_000])
    fails(server, tmp_path, "needs 1000000")
    assert server.ranges == []


def test_official_archive():
    assert (OFFICIAL_URL.rpartition("/")[2], OFFICIAL_SIZE) == ("tiny-imagenet-200.zip", 248_100_043)
    assert OFFICIAL_MD5 == "90528d7ca1a48142e341f4ef8d21d0de"
