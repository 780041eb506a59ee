"""Google Drive through gdown's own code, whose requests a small server answers in the addresses' place."""

import hashlib
import http.server
import re
import shutil
import sys
import tarfile
import threading
from urllib.parse import parse_qs, urlsplit

import pytest
import requests

from calip_core.datasets import load_task
from calip_core.datasets.cards import Source, available_cards, load_card
from calip_core.datasets.fetch.download import ChecksumError, DownloadError
from calip_core.datasets.fetch.drive import download_from_drive
from calip_core.datasets.fetch.fetching import fetch

ID = "1ObCFbaAgVu0I-k_Au-gIUcefirdAuizT"
BODY = bytes(range(256)) * 8192
WARNING = """<html><body><form id="download-form" action="https://drive.usercontent.google.com/download" method="get">
<input type="hidden" name="id" value="{id}"><input type="hidden" name="export" value="download">
<input type="hidden" name="confirm" value="t"></form></body></html>""".replace("\n", "")
QUOTA = '<html><p class="uc-error-subcaption">Too many users have viewed or downloaded this file recently.</p></html>'


class Handler(http.server.BaseHTTPRequestHandler):
    """Sends a small file at once, and a large one after the page that it cannot be scanned for viruses."""

    def do_GET(self):
        server, address = self.server, urlsplit(self.path)
        (identifier,) = parse_qs(address.query)["id"]
        server.asked.append((address.path, self.headers.get("Range")))
        if server.page or (server.large and address.path == "/uc"):
            content = (server.page or WARNING.format(id=identifier)).encode()
            self.answer(200, {"Content-Type": "text/html; charset=utf-8"}, content)
            return
        content, asked = server.files[identifier], self.headers.get("Range")
        start = int(re.fullmatch(r"bytes=(\d+)-", asked)[1]) if asked else 0
        named = {"Content-Type": "application/octet-stream", "Content-Disposition": 'attachment; filename="name.bin"'}
        if start:
            named["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        self.answer(206 if start else 200, named, content[start:])

    def answer(self, status, headers, content):
        self.send_response(status)
        for name, value in (headers | {"Content-Length": str(len(content))}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content[: self.server.cut])

    def log_message(self, *_):
        pass


@pytest.fixture
def drive(monkeypatch):
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.files, server.asked, server.large, server.page, server.cut = {ID: BODY}, [], False, "", None
    real = requests.adapters.HTTPAdapter.send

    def send(self, request, *arguments, **options):
        here = f"http://127.0.0.1:{server.server_port}"
        request.url = re.sub(r"^https://(drive|drive\.usercontent)\.google\.com", here, request.url)
        return real(self, request, *arguments, **options)

    monkeypatch.setattr(requests.adapters.HTTPAdapter, "send", send)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def get(path, checksum=None):
    return download_from_drive(ID, path, checksum, progress=False)


@pytest.mark.parametrize("large", [False, True])
def test_a_file_is_fetched_and_its_sha256_recorded(drive, large, tmp_path):
    drive.large = large
    path, digest = tmp_path / "new/split.json", hashlib.sha256(BODY).hexdigest()
    assert get(path) == digest == get(path, f"sha256:{digest}")
    assert path.read_bytes() == BODY
    assert (tmp_path / "new/split.json.sha256").read_text() == f"{digest}  split.json\n"
    assert [address for address, _ in drive.asked] == ["/uc"] + ["/download"] * large


def test_a_broken_download_is_continued(drive, tmp_path):
    drive.cut = 1 << 20
    with pytest.raises(DownloadError, match="cannot fetch a.bin from Google Drive .*: try later"):
        get(tmp_path / "a.bin")
    assert not (tmp_path / "a.bin").exists()
    drive.cut = None
    get(tmp_path / "a.bin")
    assert (tmp_path / "a.bin").read_bytes() == BODY
    assert drive.asked[-1][1] is not None and drive.asked[-1][1] != "bytes=0-"


def test_a_page_in_place_of_the_file_is_refused(drive, tmp_path):
    drive.page = QUOTA
    with pytest.raises(DownloadError, match="cannot fetch a.bin from Google Drive .*Too many users have viewed"):
        get(tmp_path / "a.bin")
    assert not (tmp_path / "a.bin").exists()


def test_a_wrong_file_is_removed(drive, tmp_path):
    with pytest.raises(ChecksumError, match="expected 000"):
        get(tmp_path / "a.bin", f"md5:{'0' * 32}")
    assert not (tmp_path / "a.bin").exists()


def test_without_the_package_the_message_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "gdown", None)
    with pytest.raises(ImportError, match=r"pip install 'calip-core\[hub\]'"):
        get(tmp_path / "a.bin")


def test_coops_split_joins_the_images_also_later(drive, standins, tmp_path, monkeypatch):
    folder = shutil.copytree(standins / "eurosat", tmp_path / "eurosat")
    split = folder / "split_zhou_EuroSAT.json"
    (source,) = [source for source in load_card("eurosat").sources if source.drive]
    drive.files[source.drive] = split.read_bytes()
    split.unlink()
    (folder / "STANDIN.json").unlink()
    with tarfile.open(tmp_path / "EuroSAT.tar.gz", "w:gz") as archive:
        archive.add(folder, "eurosat")
    images = Source(file="EuroSAT.tar.gz", url=(tmp_path / "EuroSAT.tar.gz").as_uri(), gives="eurosat/2750")
    changes = {"classes": 3, "sizes": {"train": 15, "val": 6, "test": 9}, "sources": (images, source)}
    card = load_card("eurosat").model_copy(update=changes)
    for module in ("fetch.fetching", "inventory", "readers.coop"):
        monkeypatch.setattr(f"calip_core.datasets.{module}.load_card", lambda name: card)
    fetched = fetch("eurosat", tmp_path / "root", progress=False)
    assert fetched.status.state == "complete", fetched.status.note
    assert [text.split(":")[0] for text in fetched.done] == ["EuroSAT.tar.gz", "split_zhou_EuroSAT.json"]
    assert "[untried" in fetched.done[1] and "[untried" not in fetched.done[0]
    assert load_task("eurosat", tmp_path / "root").split_source == "split_zhou_EuroSAT.json"
    (tmp_path / "root/eurosat/split_zhou_EuroSAT.json").unlink()
    shutil.rmtree(tmp_path / "root/downloads")
    assert "cut 50/20/30" in load_task("eurosat", tmp_path / "root").split_source
    again = fetch("eurosat", tmp_path / "root", progress=False)
    assert [text.split(":")[0] for text in again.done] == ["split_zhou_EuroSAT.json"]
    assert load_task("eurosat", tmp_path / "root").split_source == "split_zhou_EuroSAT.json"


def test_no_file_of_coop_is_left_to_a_browser():
    for name in available_cards():
        for source in load_card(name).sources:
            if source.manual and "drive.google.com" in source.manual:
                assert source.drive and source.drive in source.manual
