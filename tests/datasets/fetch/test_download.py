"""Downloads from a server of our own: whole, continued, cut off, changed, and the wrong file."""

import hashlib
import http.server
import re
import resource
import threading

import pytest

from calip_core.datasets.fetch.download import ChecksumError, DownloadError, download, verify

BODY = bytes(range(256)) * 400
SHA256 = hashlib.sha256(BODY).hexdigest()
MD5 = f"md5:{hashlib.md5(BODY).hexdigest()}"


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        server = self.server
        asked = self.headers.get("Range")
        server.asked.append(asked)
        if server.status:
            self.send_error(server.status)
            return
        start = int(re.fullmatch(r"bytes=(\d+)-", asked)[1]) if asked and server.ranges else 0
        if start and server.obeys_if_range and self.headers.get("If-Range") != server.etag:
            start = 0
        if start and start >= len(server.body):
            self.send_error(416)
            return
        body = server.body[start : start + (server.most or len(server.body))]
        partial = start or server.always_partial
        self.send_response(206 if partial else 200)
        if partial:
            stated = f"bytes {start}-{start + len(body) - 1}/{len(server.body)}"
            self.send_header("Content-Range", server.stated or stated)
        if server.encoding:
            self.send_header("Content-Encoding", server.encoding)
        self.send_header("Content-Type", server.kind)
        if server.etag:
            self.send_header("ETag", server.etag)
        if server.length:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: server.cut])

    def log_message(self, *_):
        pass


@pytest.fixture
def server():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.body, server.etag, server.cut, server.status, server.ranges, server.length = BODY, '"1"', None, 0, True, True
    server.asked, server.kind, server.encoding = [], "application/octet-stream", ""
    server.obeys_if_range, server.most, server.always_partial, server.stated = True, None, False, None
    server.url = f"http://127.0.0.1:{server.server_port}/data.bin"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def get(server, path, checksum=None):
    return download(server.url, path, checksum, progress=False)


def names(folder):
    return sorted(path.name for path in folder.iterdir() if path.suffix != ".lock")


@pytest.mark.parametrize("checksum", [None, MD5, f"sha256:{SHA256}"])
def test_a_file_is_fetched_and_its_sha256_recorded(server, checksum, tmp_path):
    path = tmp_path / "new/data.bin"
    assert get(server, path, checksum) == SHA256
    assert path.read_bytes() == BODY
    assert (tmp_path / "new/data.bin.sha256").read_text() == f"{SHA256}  data.bin\n"
    assert names(path.parent) == ["data.bin", "data.bin.sha256"]


def test_what_is_there_is_not_fetched_again(server, tmp_path):
    get(server, tmp_path / "data.bin")
    get(server, tmp_path / "data.bin", MD5)
    assert len(server.asked) == 1


def test_the_lock_goes_with_success_and_stays_with_what_is_unfinished(server, tmp_path):
    lock = tmp_path / "data.bin.lock"
    server.cut = 70_000
    with pytest.raises(DownloadError):
        get(server, tmp_path / "data.bin")
    assert lock.is_file()
    server.cut = None
    get(server, tmp_path / "data.bin")
    assert not lock.exists()


def test_a_cut_off_download_is_kept_and_continued(server, tmp_path):
    server.cut = 70_000
    with pytest.raises(DownloadError, match="ended after 70,000 of 102,400 bytes: run the same command"):
        get(server, tmp_path / "data.bin", MD5)
    assert names(tmp_path) == ["data.bin.part", "data.bin.part.json"]
    server.cut = None
    assert get(server, tmp_path / "data.bin", MD5) == SHA256
    assert server.asked == [None, "bytes=70000-"]
    assert names(tmp_path) == ["data.bin", "data.bin.sha256"]


@pytest.mark.parametrize("change", ["etag", "ranges", "no version", "damaged note", "another address"])
def test_it_begins_again_where_it_cannot_be_continued(server, change, tmp_path):
    if change == "no version":
        server.etag = None
    server.cut = 70_000
    with pytest.raises(DownloadError):
        get(server, tmp_path / "data.bin")
    server.cut = None
    if change == "etag":
        server.body, server.etag = BODY[::-1], '"2"'
    if change == "ranges":
        server.ranges = False
    if change == "damaged note":
        (tmp_path / "data.bin.part.json").write_text("{")
    if change == "another address":
        server.url += "?2"
    get(server, tmp_path / "data.bin")
    assert (tmp_path / "data.bin").read_bytes() == server.body


def test_a_part_as_long_as_the_file_begins_again(server, tmp_path):
    server.cut = 10
    with pytest.raises(DownloadError):
        get(server, tmp_path / "data.bin")
    (tmp_path / "data.bin.part").write_bytes(b"x" * len(BODY))
    server.cut = None
    assert get(server, tmp_path / "data.bin") == SHA256


def test_the_wrong_file_is_removed(server, tmp_path):
    wrong = f"md5:{'0' * 32}"
    with pytest.raises(ChecksumError, match=f"has the md5 {MD5[4:]}, expected {'0' * 32}"):
        get(server, tmp_path / "data.bin", wrong)
    assert "data.bin" not in names(tmp_path)
    assert "data.bin.part" not in names(tmp_path)


def test_a_file_that_changed_since_it_was_recorded_is_noticed(server, tmp_path):
    get(server, tmp_path / "data.bin")
    (tmp_path / "data.bin").write_bytes(b"other")
    for again in (lambda: get(server, tmp_path / "data.bin"), lambda: verify(tmp_path / "data.bin")):
        with pytest.raises(ChecksumError, match=f"expected {SHA256}"):
            again()


def test_a_server_without_a_length_is_believed(server, tmp_path):
    server.length = False
    assert get(server, tmp_path / "data.bin") == SHA256


@pytest.mark.parametrize("status", [404, 503])
def test_a_refusal_names_the_address(server, status, tmp_path):
    server.status = status
    with pytest.raises(DownloadError, match=f"{re.escape(server.url)} answers {status}"):
        get(server, tmp_path / "data.bin")


def test_nobody_there(tmp_path):
    with pytest.raises(DownloadError, match="cannot fetch http://127.0.0.1:9/x .*network"):
        download("http://127.0.0.1:9/x", tmp_path / "x", progress=False)


def test_a_file_url_is_copied(tmp_path):
    (tmp_path / "source.bin").write_bytes(BODY)
    assert download((tmp_path / "source.bin").as_uri(), tmp_path / "data.bin", MD5, progress=False) == SHA256
    with pytest.raises(DownloadError, match="cannot fetch file:"):
        download((tmp_path / "none.bin").as_uri(), tmp_path / "none", progress=False)


def test_two_at_once_fetch_it_once(server, tmp_path):
    threads = [threading.Thread(target=get, args=(server, tmp_path / "data.bin", MD5)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (tmp_path / "data.bin").read_bytes() == BODY
    assert len(server.asked) == 1


def test_a_web_page_in_place_of_the_file_is_not_taken(server, tmp_path):
    server.kind = "text/html; charset=utf-8"
    with pytest.raises(DownloadError, match=f"{re.escape(server.url)} answers with a web page, not with the file"):
        get(server, tmp_path / "data.bin")
    assert names(tmp_path) == []


def test_a_full_disk_names_the_file_and_keeps_what_has_arrived(server, tmp_path, monkeypatch):
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    monkeypatch.setattr("calip_core.datasets.fetch.download.CHUNK", 10_000)
    resource.setrlimit(resource.RLIMIT_FSIZE, (45_000, limits[1]))
    try:
        with pytest.raises(OSError, match="40,000 bytes are safe: make room and run the same command") as caught:
            get(server, tmp_path / "data.bin", MD5)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert caught.value.filename == str(tmp_path / "data.bin.part")
    assert get(server, tmp_path / "data.bin", MD5) == SHA256
    assert server.asked == [None, "bytes=45000-"]


def test_receiving_and_checking_are_shown(server, tmp_path, capfd):
    download(server.url, tmp_path / "data.bin", MD5)
    text = capfd.readouterr().err
    assert "data.bin: " in text and "checking data.bin.part: " in text
    verify(tmp_path / "data.bin", progress=True)
    assert "checking data.bin: " in capfd.readouterr().err


def begin(server, path):
    """Leave the first 70,000 bytes of the file."""
    server.cut = 70_000
    with pytest.raises(DownloadError):
        get(server, path)
    server.cut = None
    server.asked.clear()


def test_a_rest_of_another_version_is_not_joined_on(server, tmp_path):
    """The server pays no heed to If-Range, but says what it sends."""
    begin(server, tmp_path / "data.bin")
    server.body, server.etag, server.obeys_if_range = BODY[::-1], '"2"', False
    get(server, tmp_path / "data.bin")
    assert (tmp_path / "data.bin").read_bytes() == BODY[::-1]
    assert server.asked == ["bytes=70000-", None]


def test_a_rest_of_another_length_is_not_joined_on(server, tmp_path):
    begin(server, tmp_path / "data.bin")
    server.body = BODY * 2
    get(server, tmp_path / "data.bin")
    assert (tmp_path / "data.bin").read_bytes() == BODY * 2


def test_a_part_of_another_place_is_not_joined_on(server, tmp_path):
    begin(server, tmp_path / "data.bin")
    server.stated, server.length = "bytes 5-104/102400", False
    assert get(server, tmp_path / "data.bin") == SHA256
    assert server.asked == ["bytes=70000-", None]


@pytest.mark.parametrize("checksum", [None, MD5])
@pytest.mark.parametrize("always_partial", [True, False])
def test_a_server_that_sends_little_at_a_time_is_asked_until_all_is_there(server, checksum, always_partial, tmp_path):
    begin(server, tmp_path / "data.bin")
    server.most, server.always_partial = 10_000, always_partial
    assert get(server, tmp_path / "data.bin", checksum) == SHA256
    assert server.asked == [f"bytes={start}-" for start in (70_000, 80_000, 90_000, 100_000)]


def test_a_part_that_nobody_asked_for_is_no_whole_file(server, tmp_path):
    server.most, server.always_partial = 30_000, True
    assert get(server, tmp_path / "data.bin") == SHA256
    assert server.asked == [None, "bytes=30000-", "bytes=60000-", "bytes=90000-"]


def test_parts_of_no_stated_version_are_not_joined(server, tmp_path):
    server.most, server.always_partial, server.etag = 30_000, True, None
    with pytest.raises(DownloadError, match="parts without saying of which version"):
        get(server, tmp_path / "data.bin")


@pytest.mark.parametrize("stated", ["bytes 0-102399/*", "bytes */102400", "bytes 5-4/3", "", "x"])
def test_a_part_of_no_clear_place_is_not_joined_on(server, stated, tmp_path):
    begin(server, tmp_path / "data.bin")
    server.stated = stated or " "
    server.length = False
    with pytest.raises(DownloadError, match="part of the file"):
        get(server, tmp_path / "data.bin")
    server.stated = None
    assert get(server, tmp_path / "data.bin") == SHA256


def test_a_file_that_changes_with_every_answer_ends(server, tmp_path):
    begin(server, tmp_path / "data.bin")
    server.most, server.always_partial, server.stated, server.length = 100, True, "bytes 0-99/102400", False
    with pytest.raises(DownloadError, match="another part"):
        get(server, tmp_path / "data.bin")
    assert len(server.asked) <= 3


@pytest.mark.parametrize("length", [True, False])
def test_an_empty_answer_is_no_file(server, length, tmp_path):
    server.body, server.length = b"", length
    with pytest.raises(DownloadError, match="answers with an empty file"):
        get(server, tmp_path / "data.bin")
    assert not (tmp_path / "data.bin").exists()


def test_an_encoded_answer_is_taken_only_where_a_checksum_tells(server, tmp_path):
    """Some servers call a .tgz encoded and send it as it is."""
    server.encoding = "gzip"
    with pytest.raises(DownloadError, match="in the encoding 'gzip'"):
        get(server, tmp_path / "data.bin")
    with pytest.raises(ChecksumError):
        get(server, tmp_path / "data.bin", f"md5:{'0' * 32}")
    assert get(server, tmp_path / "data.bin", MD5) == SHA256


def test_a_damaged_record_of_a_checksum_is_named(server, tmp_path):
    get(server, tmp_path / "data.bin")
    for damaged in (b"", b"\xff"):
        (tmp_path / "data.bin.sha256").write_bytes(damaged)
        with pytest.raises(ValueError, match=r"data\.bin\.sha256 cannot be read as a recorded checksum"):
            verify(tmp_path / "data.bin")
