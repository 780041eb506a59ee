"""A small server with the routes of the Hub's API that ``huggingface_hub`` asks, on files of the tests' own."""

import hashlib
import http.server
import json
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from urllib.parse import unquote, urlsplit

LARGE = (".tar", ".parquet")
"""What the Hub keeps in its large file storage: listed with a SHA-256, and served from another host."""


@dataclass
class Repository:
    """One dataset: commit -> path -> content; branches and tags -> commit."""

    commits: dict = field(default_factory=dict)
    names: dict = field(default_factory=dict)
    token: str | None = None
    """Without this token, files are refused as those of a gated dataset are."""

    def commit(self, folder, *names):
        """Take all files below a folder as a new commit, which main and other names then lead to."""
        files = {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
        sha = hashlib.sha1(repr(sorted(files.items())).encode()).hexdigest()
        self.commits[sha] = files
        self.names |= dict.fromkeys(("main", *names), sha)
        return sha

    def resolve(self, name):
        return name if name in self.commits else self.names.get(name)


def blob(content):
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_HEAD(self):
        self.do_GET()

    def do_GET(self):
        server, parts = self.server, [unquote(part) for part in urlsplit(self.path).path.strip("/").split("/")]
        server.asked.append((self.command, urlsplit(self.path).path, self.headers.get("Range")))
        if server.down:
            self.close_connection = True
            return
        match parts:
            case ["api", "datasets", owner, name]:
                self.info(f"{owner}/{name}", "main")
            case ["api", "datasets", owner, name, "revision", revision]:
                self.info(f"{owner}/{name}", revision)
            case ["api", "datasets", owner, name, "tree", revision]:
                self.tree(f"{owner}/{name}", revision)
            case ["datasets", owner, name, "resolve", revision, *path]:
                self.file(f"{owner}/{name}", revision, "/".join(path))
            case ["large", digest]:
                self.send(server.large[digest], {"ETag": f'"{digest}"'}, "application/octet-stream")
            case _:
                self.refuse(404, "EntryNotFound")

    def find(self, name, revision):
        repository = self.server.repositories.get(name)
        if repository is None:
            return self.refuse(404, "RepoNotFound")
        commit = repository.resolve(revision)
        return self.refuse(404, "RevisionNotFound") if commit is None else (repository, commit)

    def info(self, name, revision):
        if found := self.find(name, revision):
            self.send(json.dumps({"id": name, "sha": found[1], "siblings": []}).encode())

    def tree(self, name, revision):
        if not (found := self.find(name, revision)):
            return
        entries = [{"type": "directory", "path": "data", "oid": "0" * 40}]
        for path, content in found[0].commits[found[1]].items():
            entry = {"type": "file", "path": path, "size": len(content), "oid": blob(content)}
            if path.endswith(LARGE):
                digest = hashlib.sha256(content).hexdigest()
                entry["lfs"] = {"oid": digest, "size": len(content), "pointerSize": 134}
            entries.append(entry | self.server.lies.get(path, {}))
        self.send(json.dumps(entries).encode())

    def file(self, name, revision, path):
        if not (found := self.find(name, revision)):
            return
        repository, commit = found
        if repository.token and self.headers.get("Authorization") != f"Bearer {repository.token}":
            self.refuse(403, "GatedRepo")
            return
        content = repository.commits[commit].get(path)
        if content is None:
            self.refuse(404, "EntryNotFound")
            return
        headers = {"X-Repo-Commit": commit, "ETag": f'"{blob(content)}"'}
        if path.endswith(LARGE):
            digest = hashlib.sha256(content).hexdigest()
            self.server.large[digest] = content
            linked = {"X-Linked-Etag": f'"{digest}"', "X-Linked-Size": str(len(content))}
            linked["Location"] = f"http://localhost:{self.server.server_port}/large/{digest}"
            self.send(b"", headers | linked, status=302)
        else:
            self.send(content, headers, "text/plain")

    def refuse(self, status, code):
        self.send(b"", {"X-Error-Code": code, "X-Error-Message": code}, status=status)

    def send(self, content, headers=None, kind="application/json", status=200):
        start, total = 0, len(content)
        if (asked := self.headers.get("Range")) and self.command == "GET":
            start, status = int(asked.removeprefix("bytes=").rstrip("-")), 206
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        if status == 206:
            self.send_header("Content-Range", f"bytes {start}-{total - 1}/{total}")
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(total - start))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(self.body(content[start:]))

    def body(self, content):
        """The content; once, where the test wants it, only its first bytes, and then the connection breaks."""
        if self.server.cut is not None and len(content) > self.server.cut:
            content, self.server.cut, self.close_connection = content[: self.server.cut], None, True
        return content

    def log_message(self, *_):
        pass


@contextmanager
def running():
    """A running server, with ``repositories`` by their names."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.repositories, server.large, server.asked, server.lies = {}, {}, [], {}
    server.cut, server.down, server.url = None, False, f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
