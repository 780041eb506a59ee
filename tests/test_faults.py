"""What a machine does to a run: kills at any moment, full disks, few open files, odd places and locales."""

import contextlib
import http.server
import json
import os
import random
import resource
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from PIL import Image

from calip_core.evaluation.store import load
from calip_core.miniature.trainer import Trainer
from tests.processes import CALIP

REPOSITORY = Path(__file__).parents[1]


def images(folder):
    """A folder of pictures, one sub-folder per class."""
    for label, colour in enumerate(((200, 20, 20), (20, 20, 200))):
        for number in range(8):
            path = folder / f"class {label}" / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (48, 40), tuple(min(255, value + 6 * number) for value in colour)).save(path)
    return folder


def start(folder, *arguments, **options):
    """``calip`` with its cache and its records in ``folder``."""
    environment = {
        "PATH": os.environ["PATH"], "HOME": str(folder), "PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1",
        "CALIP_CACHE": str(folder / "cache"), "CALIP_RESULTS": str(folder / "runs.jsonl"),
    }  # fmt: skip
    environment.update(options.pop("env", {}))
    environment = {name: value for name, value in environment.items() if value is not None}
    folder.mkdir(parents=True, exist_ok=True)
    return subprocess.Popen(
        [*CALIP, *arguments], cwd=folder, env=environment, text=True, errors="surrogateescape",
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options,
    )  # fmt: skip


def run(folder, *arguments, **options):
    process = start(folder, *arguments, **options)
    out, err = process.communicate(timeout=300)
    return process.returncode, out, err


def settled(folder):
    """Everything that a run leaves but times: the features' bytes, and the records."""
    features = {
        path.relative_to(folder): path.read_bytes()
        for path in sorted(folder.glob("cache/**/*"))
        if path.suffix in (".safetensors", ".sha256", ".json")
    }
    records = [json.loads(record.model_dump_json(exclude={"run"})) for record in load(folder / "runs.jsonl")]
    for record in records:
        record["head"].pop("fit_seconds")
    return features, records


def sweep_file(folder):
    path = folder / "sweep.yaml"
    path.write_text("datasets: [digits]\nbackbones: [mini-vit]\nprotocols: [fixed, validation]\nsamples: 300\n")
    return path


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    """An undisturbed sweep: its folder and its seconds."""
    folder, begin = tmp_path_factory.mktemp("reference"), time.monotonic()
    assert run(folder, "sweep", str(sweep_file(folder)), "--quiet")[0] == 0
    return folder, time.monotonic() - begin


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_sweep_that_is_stopped_at_any_moment_ends_with_the_same_bytes(reference, tmp_path, number):
    (whole, seconds), moments = reference, random.Random(int(number))
    for _ in range(3):
        process = start(tmp_path, "sweep", str(sweep_file(tmp_path)), "--quiet")
        time.sleep(moments.uniform(0, seconds))
        process.send_signal(number)
        process.communicate(timeout=60)
    status, _, err = run(tmp_path, "sweep", str(sweep_file(tmp_path)), "--quiet")
    assert status == 0, err
    assert settled(tmp_path) == settled(whole)
    assert not [path for path in tmp_path.glob("**/.*.*") if path.is_file() and not path.name.endswith(".lock")]


def test_a_full_disk_is_named_and_the_next_run_ends_the_same(reference, tmp_path):
    def small():
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))

    status, out, err = run(tmp_path, "sweep", str(sweep_file(tmp_path)), "--quiet", preexec_fn=small)
    assert status == 1 and "cannot write shard 0" in out + err
    assert run(tmp_path, "sweep", str(sweep_file(tmp_path)), "--quiet")[0] == 0
    assert settled(tmp_path) == settled(reference[0])


FETCH = "import sys; from calip_core.datasets.fetch.download import download; from pathlib import Path\n"
FETCH += "download(sys.argv[1], Path(sys.argv[2]), None, progress=False)"


class Slow(http.server.BaseHTTPRequestHandler):
    """Sends 400 kB in pieces, and from where it is asked to."""

    body = random.Random(0).randbytes(400_000)

    def do_GET(self):
        begin = int((self.headers.get("Range") or "bytes=0-").removeprefix("bytes=").removesuffix("-"))
        self.send_response(206 if begin else 200)
        if begin:
            self.send_header("Content-Range", f"bytes {begin}-{len(self.body) - 1}/{len(self.body)}")
        self.send_header("ETag", '"1"')
        self.send_header("Content-Length", str(len(self.body) - begin))
        self.end_headers()
        with contextlib.suppress(OSError):
            for place in range(begin, len(self.body), 20_000):
                self.wfile.write(self.body[place : place + 20_000])
                time.sleep(0.02)

    def log_message(self, *_):
        pass


def test_a_download_that_is_killed_at_any_moment_is_continued_to_the_same_bytes(tmp_path):
    moments, target = random.Random(0), tmp_path / "data.bin"
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Slow) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        command = [sys.executable, "-c", FETCH, f"http://127.0.0.1:{server.server_port}/data.bin", str(target)]
        for _ in range(4):
            with subprocess.Popen(command, cwd=REPOSITORY) as process:
                time.sleep(moments.uniform(0.2, 1.0))
                process.kill()
        assert subprocess.run(command, cwd=REPOSITORY, check=False).returncode == 0
        server.shutdown()
    assert target.read_bytes() == Slow.body


TRAIN = """
import os, signal, sys, torch
from pathlib import Path
from calip_core.miniature.trainer import Length, Recipe, Trainer
path = Path(sys.argv[1])
trainer = Trainer(Recipe("vit", seed=3, batch_size=4), Length(samples=16))
trainer.step()
trainer.save(path)
trainer.step()
save = torch.save
def half(state, file):
    save(state, file)
    os.truncate(file if isinstance(file, (str, Path)) else file.fileno(), 5000)
    os.kill(os.getpid(), signal.SIGKILL)
torch.save = half
trainer.save(path)
"""


def test_a_training_that_is_killed_while_it_saves_keeps_the_state_before(tmp_path):
    command = [sys.executable, "-c", TRAIN, str(tmp_path / "run")]
    assert subprocess.run(command, cwd=REPOSITORY, check=False).returncode == -signal.SIGKILL
    assert Trainer.load(tmp_path / "run").progress.step == 1


def few_files():
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))


@pytest.mark.parametrize(
    ("place", "options"),
    [
        ("plain", {"env": {"HOME": None}}),
        ("plain", {"env": {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}}),
        ("plain", {"preexec_fn": few_files}),
        ("with a space,\nand a line", {}),
        (os.fsdecode(b"caf\xe9"), {"env": {"CALIP_CACHE": "plain"}}),
    ],
    ids=["no home", "ASCII", "64 open files", "newline", "bytes"],
)
def test_odd_places_and_machines_give_a_record(tmp_path, place, options):
    folder = tmp_path / place
    if "env" in options and "CALIP_CACHE" in options["env"]:
        options = {"env": {"CALIP_CACHE": str(tmp_path / "cache")}}
    images(folder / "my images")
    status, out, err = run(folder, "evaluate", "folder:my images", "mini-vit", **options)
    assert status == 0, out + err
    (record,) = load(folder / "runs.jsonl")
    assert record.data.images > 0
