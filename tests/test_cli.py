"""The command line: what is printed, and how it ends."""

import json
import os
import signal
import subprocess
import sys

import pytest
from PIL import Image

from calip_core import cli, load_backbone, load_task
from calip_core.cli import main
from calip_core.commands.evaluate import describe
from calip_core.datasets.fetch.download import DownloadError
from calip_core.evaluation.evaluate import plan
from calip_core.evaluation.store import load
from tests.processes import CALIP
from tests.records import SUPPORT, make_record


def test_a_standin_is_written_and_listed(tmp_path, capsys):
    arguments = ["--root", str(tmp_path), "--classes", "2", "--images", "5"]
    assert main(["standin", "describable_textures", *arguments, "--own-split"]) == 0
    assert "procedural pictures and not the dataset" in capsys.readouterr().out
    assert main(["datasets", "--root", str(tmp_path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 21
    (dtd,) = [line for line in lines if line.startswith("dtd")]
    assert dtd.split()[1:5] == ["stand-in", "4/2/4", "of", "2820/1128/1692"]
    assert "labels/train1.txt" in dtd


def test_an_incomplete_dataset_is_explained(tmp_path, capsys):
    (tmp_path / "eurosat").mkdir()
    assert main(["datasets", "--root", str(tmp_path)]) == 0
    assert "eurosat                incomplete" in (text := capsys.readouterr().out)
    assert "has no folder 2750 of images" in text


def test_fetch_says_what_to_do_by_hand_and_fails(tmp_path, capsys, monkeypatch):
    def dead(name, *_, **__):
        raise DownloadError(f"cannot fetch {name}")

    monkeypatch.setattr("calip_core.datasets.fetch.fetching.fetch_repository", dead)
    monkeypatch.setattr("calip_core.datasets.fetch.fetching.download_from_drive", dead)
    assert main(["fetch", "cars", "--root", str(tmp_path)]) == 1
    text = capsys.readouterr().out
    assert "by hand: cars_train.tgz (md5:065e5b463ae28d29e77c1b4b166cfe61), needed: the address is dead since" in text
    assert "since April 2023" in text
    assert f"put it at {tmp_path}/downloads/stanford_cars/cars_train.tgz" in text
    assert "stanford_cars          missing" in text


def test_a_standin_of_clouds_has_layouts(tmp_path, capsys):
    arguments = ["--root", str(tmp_path), "--classes", "2", "--images", "5", "--layout", "text"]
    assert main(["standin", "ModelNet40", *arguments]) == 0
    text = capsys.readouterr().out
    assert "procedural solids and not the dataset" in text
    assert "modelnet40_train.txt" in text
    assert main(["fetch", "OBJ_BG", "--root", str(tmp_path)]) == 1
    assert "https://hkust-vgd.github.io/scanobjectnn/" in capsys.readouterr().out


def test_an_address_that_does_not_answer_fails_and_the_rest_is_said(tmp_path, capsys, monkeypatch):
    def dead(url, *_, **__):
        raise DownloadError(f"cannot fetch {url}")

    monkeypatch.setattr("calip_core.datasets.fetch.fetching.download", dead)
    assert main(["fetch", "modelnet40", "--root", str(tmp_path)]) == 1
    text = capsys.readouterr().out
    assert "failed: ModelNet40.zip, needed: cannot fetch https://modelnet" in text
    assert "by hand: modelnet40_ply_hdf5_2048.zip, optional" in text
    assert "by hand: modelnet40_normal_resampled.zip, optional" in text
    assert "modelnet40             missing" in text


def test_an_error_is_one_line(tmp_path, capsys):
    (tmp_path / "dtd").mkdir()
    assert main(["standin", "dtd", "--root", str(tmp_path)]) == 1
    assert capsys.readouterr().err.startswith("calip: ")


@pytest.mark.parametrize("name", ["dtdd", "digits", "folder:x"])
def test_an_unknown_dataset_lists_the_choices(name, capsys):
    with pytest.raises(SystemExit, match="2"):
        main(["fetch", name])
    printed = capsys.readouterr().err
    assert f"unknown dataset '{name}'" in printed and "expected one of caltech101, dtd" in printed
    assert "wds/NAME" in printed and "hub:OWNER/NAME" in printed


@pytest.mark.parametrize(
    ("name", "meant"),
    [("dtdd", "dtd"), ("ethz/food101", "hub:ethz/food101"), ("vtab/pets", "wds/vtab/pets")],
)
def test_a_dataset_to_fetch_is_suggested(name, meant, capsys):
    with pytest.raises(SystemExit, match="2"):
        main(["fetch", name])
    assert f"unknown dataset '{name}' (did you mean '{meant}'?)" in capsys.readouterr().err


def test_the_default_root_is_the_environments(monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("CALIP_DATA", str(tmp_path))
    main(["datasets"])
    assert f"under {tmp_path}{os.linesep}"[:-1] in capsys.readouterr().out.splitlines()[0]


def test_ctrl_c_ends_quietly(monkeypatch, capsys):
    def stop(arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr("calip_core.datasets.inventory.inventory", stop)
    assert main(["datasets"]) == 130
    assert "stopped" in capsys.readouterr().err


@pytest.mark.parametrize("command", cli.COMMANDS, ids=lambda command: command.__name__.rpartition(".")[2])
def test_every_command_has_help(command, capsys):
    name = command.__name__.rpartition(".")[2]
    with pytest.raises(SystemExit, match="0"):
        main([name, "--help"])
    printed = capsys.readouterr().out
    known = {"encode": "--devices", "fetch": "--root", "standin": "--classes", "export": "--out"}
    assert known.get(name, "") in printed and f"usage: calip {name}" in printed


def test_a_closed_pipe_ends_quietly():
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run([*CALIP, "datasets"], stdout=writer, stderr=subprocess.PIPE, check=False)
    os.close(writer)
    assert (done.returncode, done.stderr) == (141, b"")


def test_a_file_that_cannot_be_used_is_named_first(tmp_path, capsys):
    assert main(["evaluate", "digits", "mini-rn", "--results", str(tmp_path)]) == 2
    assert capsys.readouterr().err.startswith(f"calip evaluate: {tmp_path}: is a folder")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("--seed -1", "--seed: is -1, expected a number from 0 to 4294967295"),
        ("--limit 0", "--limit: is 0, expected at least 1"),
        ("--shots many", "--shots: is 'many', expected a whole number"),
        ("--protocol fix", "--protocol: invalid choice: 'fix' (choose from"),
        ("--method tipadapter", "--method: invalid choice: 'tipadapter' (choose from"),
    ],
)
def test_an_argument_is_refused_by_its_own_name(given, said, capsys):
    with pytest.raises(SystemExit, match="2"):
        main(["evaluate", "digits", "mini-rn", *given.split()])
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("--method tip_adapter", "tip_adapter learns from labelled images: give --shots, such as 4"),
        ("--method calip --shots 4", "calip takes no labelled images: leave --shots out"),
        ("--method tda --batch-size 4", "tda sees no batch of images: leave --batch-size out"),
        ("--method stata --config paper", "--config is for the method calip: leave it out"),
        ("--method zero_shot --prior mean", "--prior is for the method calip: leave it out"),
        ("--views pointclip_v2", "--views is for point clouds: leave it out"),
        ("--cores 1", "--cores is for --engine ray: leave it out"),
        ("--address auto", "--address is for --engine ray: leave it out"),
        ("--method stata --engine ray", "stata sees batch, and --engine ray shows one image at a time: leave it out"),
    ],
)
def test_what_a_head_cannot_use_is_refused(given, said, capsys):
    assert main(["evaluate", "digits", "mini-rn", *given.split()]) == 2
    assert capsys.readouterr().err == f"calip evaluate: {said}\n"


@pytest.mark.parametrize("name", ["open_clip:ViT-B-32", "open_clip:ViT-B-32/"])
@pytest.mark.parametrize("command", ["encode", "evaluate", "sweep", "export"])
def test_what_is_kept_or_recorded_is_never_of_random_weights(command, name, tmp_path, capsys):
    (tmp_path / "sweep.yaml").write_text(f"datasets: [digits]\nbackbones: ['{name}']\n")
    given = {"sweep": [str(tmp_path / "sweep.yaml")], "export": [name]}.get(command, ["digits", name])
    kept = {"export": ["--out", str(tmp_path / "out")], "encode": []}
    given += kept.get(command, ["--results", str(tmp_path / "runs.jsonl")])
    assert main([command, *given]) > 0
    said = capsys.readouterr().err
    assert f"{name!r} names no weights, so they would be random: write open_clip:ViT-B-32/TAG" in said
    assert [path.name for path in tmp_path.iterdir()] == ["sweep.yaml"]


@pytest.mark.parametrize("command", ["evaluate", "encode", "sweep"])
def test_a_cache_that_is_a_file_is_named(command, tmp_path, monkeypatch, capsys):
    (tmp_path / "cache").touch()
    monkeypatch.setenv("CALIP_CACHE", str(tmp_path / "cache"))
    assert main([command, *(["digits", "mini-rn"] if command != "sweep" else ["sweep.yaml"])]) > 0
    assert f"the cache {tmp_path}/cache cannot be made (File exists): set $CALIP_CACHE" in capsys.readouterr().err


def test_what_ends_well_prints_no_warning_and_a_failure_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setenv("CALIP_CACHE", str(tmp_path))
    program = [*CALIP, "evaluate"]
    command = [*program, "mini-rn", "--limit", "20", "--results", str(tmp_path / "runs.jsonl")]
    command.insert(4, "digits")
    well = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "digits, mini-rn, calip: 20 images" in well.stdout and "Warning" not in well.stderr + well.stdout
    assert "resource_tracker" not in well.stderr
    command[4] = f"folder:{tmp_path}/none"
    failed = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (failed.returncode, failed.stderr) == (
        1, f"calip evaluate: there is no folder {tmp_path}/none: check the path\n"
    )  # fmt: skip


SHAPES = {
    "circle": ["a circle.", "a round disc."], "square": ["a square."], "triangle": ["a triangle."],
    "star": ["a star.", "a star with points."], "heart": ["a heart."], "cross": ["a cross."], "ring": ["a ring."],
    "crescent": ["a crescent."], "hexagon": ["a hexagon."], "diamond": ["a diamond."], "arrow": ["an arrow."],
    "drop": ["a drop."],
}  # fmt: skip


def test_class_descriptions_are_evaluated_and_each_file_is_a_setting(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("CALIP_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    results, files = tmp_path / "runs.jsonl", {"shapes.json": SHAPES, "others.json": SHAPES | {"star": ["a drop."]}}
    for name, content in files.items():
        (tmp_path / name).write_text(json.dumps(content))
        command = ["evaluate", "mini-shapes", "mini-rn", "--limit", "40", "--results", str(results)]
        assert main([*command, "--prompts", name]) == 0
        assert f"mini-shapes@{name}, mini-rn, calip: 40 images" in capsys.readouterr().out
    first, second = load(results)
    assert first.key != second.key and first.data.image_set == second.data.image_set
    assert (first.data.templates.texts, second.data.templates.texts) == (14, 13)
    task, backbone = load_task("mini-shapes", prompts="shapes.json"), load_backbone("mini-rn")
    assert plan(task, backbone, limit=40).key == first.key


def test_class_descriptions_that_do_not_fit_are_refused_in_one_line(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("CALIP_CACHE", str(tmp_path / "cache"))
    content = {name: texts for name, texts in SHAPES.items() if name != "star"} | {"strar": ["a star."]}
    (tmp_path / "shapes.json").write_text(json.dumps(content))
    command = ["evaluate", "mini-shapes", "mini-rn", "--results", str(tmp_path / "runs.jsonl")]
    assert main([*command, "--prompts", str(tmp_path / "shapes.json")]) == 1
    assert capsys.readouterr().err == (
        "calip evaluate: mini-shapes@shapes.json: the class descriptions do not fit the class names "
        "(missing: 'star'; unknown: 'strar' (did you mean 'star'?))\n"
    )


def test_a_standins_result_says_so():
    record = make_record()
    standin = record.model_copy(update={"data": record.data.model_copy(update={"standin": True})})
    assert describe(standin).startswith(f"{record.data.task} (stand-in), ")
    assert "stand-in" not in describe(record)
    batch = record.model_copy(update={"head": record.head.model_copy(update={"method": "stata", "sees": "batch"})})
    assert ", stata (sees batch): " in describe(batch) and "sees" not in describe(record)


def test_a_result_on_a_part_of_a_dataset_says_so():
    record = make_record()
    part = "100 of 1000 classes; images (train, val, test): 0 of 0, 0 of 0, 500 of 50000"
    partial = record.model_copy(update={"data": record.data.model_copy(update={"part": part})})
    assert describe(partial).startswith(f"{record.data.task} (only a part: {part}), ")
    assert "part" not in describe(record)


def test_a_result_says_whose_labels_it_means():
    none, few = make_record(), make_record(data={"support": SUPPORT})
    assert describe(none).splitlines()[2].endswith(f"labels seen by the choice: {none.choice.labels_seen}")
    assert describe(few).splitlines()[2].endswith("labels seen by the choice: none; support: 4 per class")


def test_encode_takes_a_limit(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("CALIP_CACHE", str(tmp_path))
    assert main(["encode", "digits", "mini-rn", "--limit", "10"]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("test: 10 images in") and "(10 images, " in printed


def test_encode_finds_your_own_images_from_the_working_folder(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("CALIP_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    for name in ("cat", "dog"):
        (tmp_path / "own" / name).mkdir(parents=True)
        for number in range(12):
            Image.new("RGB", (32, 32), (10 * number, 0, 0)).save(tmp_path / "own" / name / f"{number}.png")
    (tmp_path / "datasets").mkdir()
    assert main(["encode", "folder:own", "mini-rn", "--root", "datasets"]) == 0
    assert capsys.readouterr().out.startswith("test: ")


def test_encode_shares_the_work_among_devices(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("CALIP_CACHE", str(tmp_path / "both"))
    command = ["encode", "digits", "mini-rn", "--splits", "train", "--limit", "300"]
    assert main([*command, "--devices", "cpu", "cpu"]) == 0
    both = capsys.readouterr().out
    monkeypatch.setenv("CALIP_CACHE", str(tmp_path / "one"))
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    assert main([*command, "--devices", "all"]) == 0
    assert "no GPU here: the processor encodes" in capsys.readouterr().err
    assert both.startswith("train: 300 images in") and "(" not in both  # the report is of one process only
    folders = [next((tmp_path / name).glob("features/*")) for name in ("both", "one")]
    for shard in folders[1].glob("*.safetensors"):
        assert (folders[0] / shard.name).read_bytes() == shard.read_bytes()


def test_a_device_that_fails_is_named_and_the_others_do_its_work(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("CALIP_CACHE", str(tmp_path))
    assert main(["encode", "digits", "mini-rn", "--limit", "10", "--devices", "cpu", "nowhere"]) == 1
    printed = capsys.readouterr().out
    assert printed.startswith("test: 10 images in") and "the process on nowhere failed" in printed


_IMPORTS_FOR_LONG = """
import signal, sys, time
sys.path.insert(0, sys.argv[1])
from calip_core import cli
signal.signal(signal.SIGINT, signal.default_int_handler)
class Parser:
    def parse_args(self, argv):
        return self
    def run(self, arguments):
        import takes_long
        time.sleep(60)
cli.build_parser = Parser
sys.exit(cli.main([]))
"""


def test_ctrl_c_waits_until_an_import_is_over(tmp_path):
    (tmp_path / "takes_long.py").write_text(
        "import time\nprint('begun', flush=True)\nend = time.time() + 1\nwhile time.time() < end: pass\nprint('over')\n"
    )
    command = [sys.executable, "-c", _IMPORTS_FOR_LONG, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "begun\n"
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
    assert (out, err, process.returncode) == ("over\n", "calip: stopped; run the same command to continue\n", 130)
