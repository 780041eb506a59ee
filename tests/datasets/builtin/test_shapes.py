"""The tasks on procedural scenes: true labels, splits of their own, the same bytes in every process."""

import hashlib
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from calip_core import world
from calip_core.datasets import load_task
from calip_core.datasets.builtin import shapes as miniature
from calip_core.datasets.builtin.shapes import split_seed

NAMES = ("mini-shapes", "mini-pairs", "mini-textures")
SIZES = {"train": 12, "val": 8, "test": 10}


def digest(task):
    everything = hashlib.sha256()
    for split in sorted(task.splits):
        for image, label in task.splits[split]:
            everything.update(image.tobytes() + bytes([label]))
    return everything.hexdigest()


def digests(root):
    return [digest(load_task(name, root, sizes=SIZES)) for name in NAMES]


@pytest.mark.parametrize("name", NAMES)
def test_images_are_square_and_coloured(name, tmp_path):
    task = load_task(name, tmp_path, sizes=SIZES)
    assert {split: len(images) for split, images in task.splits.items()} == SIZES
    for image, _ in task.splits["val"]:
        assert image.mode == "RGB"
        assert image.size == (128, 128)


def test_processes_at_once_make_the_same_bytes(tmp_path):
    """Two processes fill one cache at the same time; a third, this one, another. All see the same pictures."""
    script = (
        "from pathlib import Path\n"
        "from tests.datasets.builtin.test_shapes import digests\n"
        f"print(*digests(Path({str(tmp_path / 'there')!r})))"
    )
    command, repository = [sys.executable, "-c", script], Path(__file__).parents[3]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=repository) for _ in range(2)]
    outputs = [process.communicate()[0].split() for process in processes]
    assert outputs == [digests(tmp_path / "here")] * 2
    names = [file.name for file in (tmp_path / "there").rglob("*") if file.is_file()]
    assert sorted(names) == sorted(f"{split}.npy" for split in SIZES for _ in range(2))  # no temporary file is left


@pytest.mark.parametrize("name", NAMES)
def test_no_image_is_in_two_splits(name, tmp_path):
    task = load_task(name, tmp_path, sizes=SIZES)
    images = [image.tobytes() for split in task.splits.values() for image, _ in split]
    assert len(set(images)) == len(images)


def test_every_split_has_a_seed_of_its_own():
    seeds = {split_seed(pairs, split) for pairs in ("seen", "held_out") for split in SIZES}
    assert len(seeds) == 6
    assert min(seeds) > 2**40  # training runs count up from small seeds


def test_pairs_are_named_as_the_scenes_are():
    scenes = world.sample_scenes(500, 3, pairs="held_out")
    question = miniature.QUESTIONS["mini-pairs"]
    names = [question.classnames[label] for label in question.answer(scenes)]
    expected = [
        f"{world.COLOURS[colour]} {world.SHAPES[shape]}"
        for colour, shape in zip(scenes.colour, scenes.shape, strict=True)
    ]
    assert names == expected


@pytest.mark.parametrize("name", ["mini-shapes", "mini-textures"])
def test_pairs_are_held_out_of_everything_else(name):
    assert miniature.QUESTIONS[name].pairs == "seen"
    for seed in range(3):
        scenes = world.sample_scenes(3000, seed, pairs="seen")
        shown = {(world.COLOURS[c], world.SHAPES[s]) for c, s in zip(scenes.colour, scenes.shape, strict=True)}
        assert not shown & set(world.HELD_OUT_PAIRS)
        assert {shape for _, shape in shown} == set(world.SHAPES)
        assert {colour for colour, _ in shown} == set(world.COLOURS)


def test_shapes_and_textures_share_their_scenes(tmp_path):
    shapes, textures = (load_task(name, tmp_path, sizes=SIZES) for name in ("mini-shapes", "mini-textures"))
    assert [a.tobytes() for a, _ in shapes.splits["test"]] == [b.tobytes() for b, _ in textures.splits["test"]]
    assert len(list(tmp_path.rglob("test.npy"))) == 1


def test_every_class_occurs():
    for name in NAMES:
        task = load_task(name)
        for split in task.splits.values():
            assert set(split.labels) == set(range(len(task.classnames)))


def test_a_coloured_pair_has_its_colour(tmp_path):
    task = load_task("mini-pairs", tmp_path, sizes={"train": 1, "val": 1, "test": 100})
    reds, blues = [], []
    for image, label in task.splits["test"]:
        colour = task.classnames[label].split()[0]
        mean = np.asarray(image, dtype=float).mean((0, 1))
        if colour in ("red", "blue"):
            (reds if colour == "red" else blues).append(mean[0] - mean[2])
    assert np.mean(reds) > 10 + np.mean(blues)


def test_another_world_is_rendered_anew(tmp_path, monkeypatch):
    load_task("mini-shapes", tmp_path, sizes=SIZES).splits["val"][0]
    monkeypatch.setattr(world, "VERSION", world.VERSION + 1)
    load_task("mini-shapes", tmp_path, sizes=SIZES).splits["val"][0]
    assert len(list((tmp_path / "worlds").glob("*/val.npy"))) == 2


def test_the_users_cache_is_the_default(tmp_path, monkeypatch):
    monkeypatch.setenv("CALIP_CACHE", str(tmp_path))
    load_task("mini-shapes", sizes=SIZES).splits["val"][0]
    assert len(list(tmp_path.rglob("val.npy"))) == 1


def test_an_unknown_split_is_refused(tmp_path):
    with pytest.raises(ValueError, match="validation"):
        load_task("mini-shapes", tmp_path, sizes={"validation": 3})


@pytest.mark.parametrize("name", NAMES)
def test_the_miniature_knows_the_prompts(name, tmp_path):
    """Every prompt is a caption of the world, though those of held-out pairs are no captions of training."""
    task = load_task(name, tmp_path)
    scenes = world.sample_scenes(20_000, 0, pairs=miniature.QUESTIONS[name].pairs)
    captions = set(world.captions_for(scenes, 0))
    assert {template.format(label) for template in task.templates for label in task.classnames} <= captions


def test_training_never_speaks_of_a_held_out_pair():
    text = "\n".join(world.captions_for(world.sample_scenes(20_000, 0, pairs="seen"), 0))
    pairs = "|".join(load_task("mini-pairs").classnames)
    assert re.search(rf"\b({pairs})\b", text) is None  # whole words: "checkered circle" holds no red circle
