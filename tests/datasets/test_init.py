"""Tasks by name."""

import json
from collections.abc import Sequence

import numpy as np
import pytest
from PIL import Image

from calip_core.datasets import (
    available_tasks,
    check_task_name,
    load_task,
    offline_tasks,
    resolve_name,
    split_template_set,
    task_kind,
)
from calip_core.datasets.standins import write_standin


def test_all_tasks_of_the_book_are_there():
    assert set(offline_tasks()) == {"photos", "mini-shapes", "mini-pairs", "mini-textures", "digits", "mini-solids"}
    assert set(available_tasks("images")) - set(offline_tasks()) == {
        "imagenet", "caltech101", "oxford_pets", "stanford_cars", "oxford_flowers", "food101", "fgvc_aircraft",
        "sun397", "dtd", "eurosat", "ucf101", "imagenet_v2", "imagenet_sketch", "imagenet_a", "imagenet_r",
    }  # fmt: skip


def test_a_dataset_has_other_names_too():
    names = {
        "flowers102": "oxford_flowers",
        "imagenet-a": "imagenet_a",
        "dtd": "dtd",
        "folder:x": "folder:x",
        "EuroSat": "eurosat",
    }
    assert {alias: resolve_name(alias) for alias in names} == names


@pytest.mark.parametrize(
    ("file", "hint"),
    [
        ("cats/1.jpg", "for the images in this folder, write folder:"),
        ("test/0.tar", "for the shards in this folder, write wds:"),
        ("0.tar", "for the shards in this folder, write wds:"),
        ("test.parquet", "for the tables in this folder, write parquet:"),
        ("default/test/0000.parquet", "for the tables in this folder, write parquet:"),
    ],
)
def test_a_folder_is_taken_for_what_lies_in_it(tmp_path, file, hint):
    (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / file).touch()
    with pytest.raises(ValueError, match=f"'{tmp_path}': {hint}{tmp_path}$"):
        resolve_name(str(tmp_path))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("mini-shape", r"'mini-shape' \(did you mean 'mini-shapes'\?\), expected one of photos, "),
        ("EuroSatt", r"\(did you mean 'eurosat'\?\), expected one of "),
        ("flowers101", r"\(did you mean 'flowers102'\?\), expected one of "),
        ("wds/vtab/pets", "'wds/vtab/pets': run `calip fetch wds/vtab/pets`, then use the name"),
        ("hub:ethz/food101", "'hub:ethz/food101': run `calip fetch hub:ethz/food101`, then use"),
        ("wds/vtab/pet", r"'wds/vtab/pet' \(did you mean 'wds/vtab/pets'\?\), expected one of wds/imagenet1k"),
        ("hub:ethz", "'hub:ethz' is no repository"),
    ],
)
def test_a_name_that_is_close_or_of_the_hub_leads_on(name, message):
    with pytest.raises(ValueError, match=message):
        check_task_name(name)


def test_a_set_of_templates_belongs_to_the_name():
    names = {"imagenet@80": "imagenet@80", "ImageNet@1": "imagenet@1", "imagenet@7": "imagenet", "folder:a@b": None}
    names = {name: own or name for name, own in names.items()}
    assert {name: resolve_name(name) for name in names} == names
    assert split_template_set("imagenet@80") == ("imagenet", "80") and split_template_set("dtd") == ("dtd", None)
    assert split_template_set("folder:a@b") == ("folder:a@b", None)
    for wrong, has in (("imagenet@81", "imagenet has 1, 7, 80"), ("dtd@80", "dtd has none")):
        with pytest.raises(ValueError, match=f"template_set is '8.', but {has}"):
            check_task_name(wrong)
    for wrong in ("digits@80", "nothing@80"):
        with pytest.raises(ValueError, match=f"unknown dataset '{wrong}'"):
            check_task_name(wrong)


def test_clouds_have_pointclips_prompt_for_few_shots(tmp_path):
    assert task_kind("ModelNet40@fewshot") == task_kind("modelnet40") == "clouds"
    write_standin("modelnet40", tmp_path, classes=3, images=5)
    few, zero = load_task("ModelNet40@fewshot", tmp_path, points=64), load_task("modelnet40", tmp_path, points=64)
    assert few.name == "modelnet40@fewshot" and few.templates == ("point cloud of a big {}.",)
    assert zero.name == "modelnet40" and zero.templates == ("point cloud depth map of a {}.",)
    assert load_task("modelnet40", tmp_path, points=64, template_set="fewshot").templates == few.templates
    assert few.splits["test"].identity == zero.splits["test"].identity and few.projection == zero.projection
    with pytest.raises(TypeError, match="modelnet40@fewshot names a set of templates already"):
        load_task("modelnet40@fewshot", tmp_path, template_set="fewshot")


def test_a_named_set_of_templates_is_loaded(standins):
    task, same = load_task("ImageNet@80", root=standins), load_task("imagenet", root=standins, template_set="80")
    assert task.name == "imagenet@80" and len(task.templates) == 80 and task.templates == same.templates
    assert load_task("imagenet@7", root=standins).name == "imagenet"
    with pytest.raises(TypeError, match="names a set of templates already"):
        load_task("imagenet@80", root=standins, template_set="1")


DESCRIBED = {
    "plain": ["one flat colour", "no pattern"], "striped": ["stripes"], "dotted": ["dots"], "checkered": ["squares"],
}  # fmt: skip


@pytest.fixture
def described(tmp_path):
    (tmp_path / "textures.json").write_text(json.dumps(DESCRIBED))
    return tmp_path / "textures.json"


def test_class_descriptions_replace_templates_and_name_their_file(described, tmp_path):
    task = load_task("mini-textures", prompts=str(described))
    assert task.name == "mini-textures@textures.json"
    assert task.templates == {name: tuple(texts) for name, texts in DESCRIBED.items()}
    for name in DESCRIBED:
        folder = tmp_path / "my@images" / name
        folder.mkdir(parents=True)
        Image.new("RGB", (8, 8)).save(folder / "1.png")
    own = f"folder:{tmp_path}/my@images"
    task = load_task(own, prompts=described)
    assert task.name == f"{own}@textures.json" and set(task.templates) == set(task.classnames)
    assert split_template_set(task.name) == (own, "textures.json")
    with pytest.raises(ValueError, match=r"mini-shapes@textures.json: .*missing: 'circle', .*unknown: 'plain'"):
        load_task("mini-shapes", prompts=described)


def test_the_name_of_a_described_task_leads_to_its_parts():
    for name in ("dtd@birds.json", "folder:a@b@birds.json"):
        base = name.removesuffix("@birds.json")
        with pytest.raises(ValueError, match=f"{name!r} names a file of class descriptions: give {base!r} and"):
            check_task_name(name)


def test_one_set_of_prompts_is_enough(standins, described):
    for name, options in (("imagenet@80", {}), ("imagenet", {"template_set": "80"})):
        with pytest.raises(TypeError, match="with a set of templates and with class descriptions: leave one"):
            load_task(name, root=standins, prompts=described, **options)


@pytest.mark.parametrize("name", offline_tasks())
def test_every_task_has_the_same_face(name, tmp_path):
    task = load_task(name, root=tmp_path)
    assert task.name == name
    assert isinstance(task.classnames, Sequence)
    for split in task.splits.values():
        assert split.labels.dtype == np.int64
        assert split.labels.shape == (len(split),)
    assert not list(tmp_path.iterdir())  # nothing was rendered for that


@pytest.mark.parametrize("name", ["mini-shape", "", "folder", "folder:", "Photo", None, 3])
def test_an_unknown_name_lists_the_choices(name, shapes_unchecked):
    for refuse in (load_task, check_task_name):
        with pytest.raises(ValueError, match=f"unknown dataset {name!r}.*photos, mini-shapes.*folder:PATH"):
            refuse(name)


def test_a_name_is_checked_without_loading():
    check_task_name("digits")
    check_task_name("folder:no/such/folder")


@pytest.mark.parametrize(
    ("name", "options", "has"),
    [
        ("digits", "sizes", "prompts"),
        ("mini-shapes", "unreadable", "prompts, sizes"),
        ("folder:x", "sizes", "prompts, unreadable"),
        ("dtd", "template_set", "prompts"),
        ("imagenet", "sizes", "prompts, template_set"),
    ],
)
def test_an_unknown_option_lists_the_known_ones(name, options, has):
    with pytest.raises(TypeError, match=f"no option {options}; it has: {has}"):
        load_task(name, **{options: 1})


def test_prompts_are_the_path_of_a_file(tmp_path):
    with pytest.raises(TypeError, match=r"has no option promts \(did you mean 'prompts'\?\)"):
        load_task("digits", promts="x.json")
    with pytest.raises(TypeError, match="prompts"):
        load_task("digits", prompts={"zero": ["a zero."]})
    with pytest.raises(FileNotFoundError, match=r"there is no file of class descriptions .*none\.json: check the path"):
        load_task("digits", prompts=tmp_path / "none.json")
