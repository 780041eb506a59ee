"""Every card describes the task it is the card of; a bad card says where it is bad."""

import shutil

import pytest
import yaml

from calip_core.datasets import available_tasks, cards, disk_datasets, load_task, offline_tasks
from calip_core.datasets.cards import CARD_DIR, available_cards, load_card
from calip_core.datasets.fetch.archives import is_archive
from calip_core.datasets.task import Task
from calip_core.paths import DATA_DIR

GOOD = {
    "name": "pets", "title": "Pets", "description": "Two.", "classes": 2, "classnames": ["cat", "dog"],
    "templates": ["a photo of a {}."], "sizes": {"train": 1, "val": 0, "test": 2}, "licence": "CC0", "source": "here",
}  # fmt: skip


WITHOUT_CHECKSUM = ("fgvc_aircraft", "modelnet10", "modelnet40")
"""Their publishers state none."""


@pytest.fixture
def card_dir(tmp_path, monkeypatch):
    monkeypatch.setattr(cards, "CARD_DIR", tmp_path)
    return tmp_path


def write(card_dir, **changes):
    card = {key: value for key, value in (GOOD | changes).items() if value is not None}
    (card_dir / "pets.yaml").write_text(yaml.safe_dump(card))


@pytest.mark.parametrize("name", offline_tasks())
def test_a_task_is_what_its_card_says(name, tmp_path):
    card, task = load_card(name), load_task(name, tmp_path)
    assert {split: len(images) // images.views for split, images in task.splits.items()} == card.sizes
    assert len(task.classnames) == card.classes
    assert card.listed_classnames() in (None, task.classnames)
    assert (task.name, task.title, task.templates) == (name, card.title, card.templates)
    assert (task.licence, task.source, task.citation) == (card.licence, card.source, card.citation)


def test_every_card_has_a_task_and_every_task_a_card():
    assert sorted(available_tasks()) == available_cards()


def test_datasets_can_be_asked_for_by_what_they_show():
    clouds = {"modelnet10", "modelnet40", "scanobjectnn", "scanobjectnn_obj_bg", "scanobjectnn_pb_t50_rs"}
    assert set(disk_datasets(kind="clouds")) == clouds
    assert sorted([*disk_datasets(kind="images"), *clouds]) == disk_datasets()


def test_a_good_card_is_read(card_dir):
    write(card_dir)
    assert load_card("pets").classnames == ("cat", "dog")


def test_an_unknown_card_lists_the_known_ones(card_dir):
    write(card_dir)
    with pytest.raises(ValueError, match="'../pets'.*there are: pets"):
        load_card("../pets")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"title": None}, "title is missing"),
        ({"colour": "red"}, "unknown key 'colour'"),
        ({"classes": 3}, "classes is 3, but 2 class names"),
        ({"classes": "two"}, "classes is 'two', expected a whole number"),
        ({"classnames": ["cat", False]}, "classnames has False, expected a text"),
        ({"classnames": None}, "class names are given by nothing"),
        ({"classnames_from": "a list"}, "expected exactly one"),
        ({"classnames": []}, "class names is empty"),
        ({"templates": ["a photo"]}, "'a photo' needs exactly one {}"),
        ({"sizes": {"train": 1, "test": 2}}, r"sizes has \['test', 'train'\]"),
        ({"sizes": {"train": -1, "val": 0, "test": 2}}, "sizes.train"),
        ({"name": "cats"}, "must be that of its file, 'pets'"),
        ({"layout": {"places": [], "reader": "pets"}}, "layout.places"),
        ({"layout": {"places": [{"folder": "../a"}], "reader": "pets"}}, "layout.places.0.folder.*not a path below"),
        ({"layout": {"places": [{"folder": "a"}], "reader": "magic"}}, "layout.reader"),
        ({"layout": {"places": [{"folder": "a"}], "reader": "path_lists"}}, "path_lists needs train and test"),
        ({"layout": {"places": [{"folder": "a"}], "reader": "pets", "lists": {"train": "a"}}}, "reader pets with"),
        ({"layout": {"places": [{"folder": "a"}], "reader": "clouds_hdf5"}}, "clouds_hdf5 needs train and test"),
        ({"layout": {"places": [{"folder": "a", "reader": "clouds_text"}], "reader": "clouds_off"}}, "clouds_te"),
        ({"kind": "films"}, "kind is 'films', expected 'images' or 'clouds'"),
        ({"sources": [{"file": "a.zip", "gives": "a"}]}, "a.zip has neither url nor manual"),
        ({"sources": [{"file": "a.zip", "url": "ftp://a", "gives": "a"}]}, "sources.0.url"),
        ({"sources": [{"file": "a", "manual": "b", "gives": "/etc"}]}, "sources.0.gives"),
        ({"sources": [{"file": "a", "manual": "b", "gives": "a", "either": "b"}]}, r"one alternative, \['b'\]"),
        ({"sources": [{"file": "a", "manual": "b", "gives": "a", "either": "b", "optional": True}]}, "a is both"),
        ({"sources": [{"file": "../a", "manual": "b", "gives": "a"}]}, "sources.0.file"),
        ({"sources": [{"file": "a", "drive": "../b", "gives": "a"}]}, "sources.0.drive"),
        ({"sources": [{"file": "a", "url": "file://a", "fallback": "file://b", "gives": "a"}]}, "a has a fallback"),
        ({"sources": [{"file": "a", "hub": "a/b/c", "gives": "a"}]}, "sources.0.hub"),
        ({"sources": [{"file": "a", "hub": "a/b", "url": "file://a", "gives": "a"}]}, "a has several of url, drive"),
        ({"sources": [{"file": "a", "hub": "a/b", "gives": "a", "whole": True, "optional": True}]}, "a is the whole"),
        ({"sources": [{"file": "a", "manual": "b", "gives": "a", "checksum": "md5:12"}]}, "sources.0.checksum"),
    ],
)
def test_a_bad_card_names_file_and_field(card_dir, changes, message):
    write(card_dir, **changes)
    with pytest.raises(ValueError, match=message) as caught:
        load_card("pets")
    assert str(card_dir / "pets.yaml") in str(caught.value)


@pytest.mark.parametrize("text", ["a: [", "just words", ""])
def test_what_is_no_card_at_all_is_named(card_dir, text):
    (card_dir / "pets.yaml").write_text(text)
    with pytest.raises(ValueError, match="pets.yaml"):
        load_card("pets")


def test_names_that_left_the_card_are_noticed(card_dir):
    shutil.copy(CARD_DIR / "digits.yaml", card_dir)
    card = load_card("digits")
    with pytest.raises(ValueError, match="expects 10 classes.*up to date"):
        Task.from_card(card, {}, (*card.classnames[:-1], "ten"))


def test_a_world_that_grew_is_noticed():
    with pytest.raises(ValueError, match="mini-shapes expects 12 classes"):
        Task.from_card(load_card("mini-shapes"), {}, ("circle",))


@pytest.mark.parametrize("name", disk_datasets())
def test_the_card_of_a_dataset_says_where_every_file_comes_from(name):
    card = load_card(name)
    assert card.layout.places[0].folder != "."
    assert any(not source.optional for source in card.sources)
    if card.layout.split_file:
        assert f"{card.layout.places[0].folder}/{card.layout.split_file}" in [source.gives for source in card.sources]
    for source in card.sources:
        assert source.url is None or source.checksum or name in WITHOUT_CHECKSUM
        assert source.untried == bool(source.drive or source.hub or source.fallback)
        if source.hub:
            assert source.gives == f"hub/{source.hub}"
            assert source.gives in [place.folder for place in card.layout.places]
        elif not is_archive(source.file) and "folder" not in source.file:  # a plain file is put where its goal is
            assert source.gives == f"{source.into}/{source.file}"


@pytest.mark.parametrize("name", disk_datasets())
def test_the_book_can_cite_every_dataset(name):
    assert f"{{{load_card(name).citation}," in (DATA_DIR.parent / "book" / "references.bib").read_text()


def test_no_two_datasets_share_a_name():
    names = [alias for name in available_cards() for alias in (name, *load_card(name).aliases)]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("name", disk_datasets())
def test_named_sets_of_templates_are_as_large_as_they_say(name):
    card = load_card(name)
    for chosen in card.template_sets:
        templates = card.choose_templates(chosen)
        assert len(set(templates)) == (1 if card.kind == "clouds" else int(chosen))
        assert all("{}" in template for template in templates)
    assert card.choose_templates() == card.templates
    with pytest.raises(ValueError, match=f"template_set is '8', but {name} has"):
        card.choose_templates("8")


def test_a_named_set_may_be_class_descriptions(card_dir, monkeypatch):
    monkeypatch.setattr(cards, "TEMPLATE_DIR", card_dir)
    write(card_dir, template_sets={"described": "pets.json"})
    (card_dir / "pets.json").write_text('{"cat": ["It purrs."], "dog": ["It barks.", "It is loyal."]}')
    card = load_card("pets")
    assert card.choose_templates("described") == {"cat": ("It purrs.",), "dog": ("It barks.", "It is loyal.")}
    assert card.choose_templates() == tuple(GOOD["templates"])


def test_the_curated_names_of_imagenet_are_a_thousand_of_which_two_are_shared():
    lines = (DATA_DIR / "class_names" / "imagenet.txt").read_text().splitlines()
    ids, names = zip(*(line.split(" ", 1) for line in lines), strict=True)
    assert len(set(ids)) == 1000
    assert list(ids) == sorted(ids)
    assert len(set(names)) == 998
    assert (ids[0], names[0], names[-1]) == ("n01440764", "tench", "toilet paper")
