"""The photographs are there without a network, upright in RGB, one a class."""

import socket

import pytest

from calip_core.datasets import load_card, load_task
from calip_core.datasets.builtin.photos import package_file

NOTEBOOK = ["page", "chelsea", "astronaut", "rocket", "motorcycle_right", "camera", "horse", "coffee"]


@pytest.fixture
def no_network(monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError("reached for the network")

    for name in ("socket", "create_connection", "getaddrinfo"):
        monkeypatch.setattr(socket, name, refuse)


def test_all_photographs_open_offline(no_network):
    test = load_task("photos").splits["test"]
    images = [image for image, _ in test]
    assert len(images) == 20
    assert all(image.mode == "RGB" and min(image.size) >= 150 for image in images)
    assert len({image.tobytes() for image in images}) == 20


def test_each_photograph_is_a_class_of_its_own():
    task = load_task("photos")
    assert task.splits["test"].labels.tolist() == list(range(len(task.classnames)))
    assert len(set(task.classnames)) == 20
    assert len(task.splits["train"]) == len(task.splits["val"]) == 0


def test_those_of_the_notebook_come_first():
    files = [photograph.file for photograph in load_card("photos").photographs]
    assert [file.rpartition("/")[2].partition(".")[0] for file in files[:8]] == NOTEBOOK


def test_captions_fit_their_pictures():
    task = load_task("photos")
    picture = {name: image for (image, _), name in zip(task.splits["test"], task.classnames, strict=True)}
    red, _green, blue = picture["a red motorcycle parked in a garage"].resize((1, 1)).getpixel((0, 0))
    assert red > blue
    silhouette = picture["the black silhouette of a horse"].convert("L").histogram()
    assert silhouette[0] + silhouette[255] > 0.9 * sum(silhouette)
    assert picture["a rocket on its launch pad at dusk"].size == (640, 427)


@pytest.mark.parametrize("file", ["skimage/data/no_such.png", "no_such_package/data/moon.png"])
def test_a_missing_file_is_named(file):
    with pytest.raises(FileNotFoundError, match=f"{file}.*reinstall"):
        package_file(file)
