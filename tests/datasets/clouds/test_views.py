"""Clouds as images: every view is an image, every cloud is drawn, encoded and counted with all its views."""

import importlib.metadata
import pickle

import numpy as np
import pytest
import scipy
import torch

from calip_core import environment as machine
from calip_core.backbones.base import Backbone
from calip_core.datasets import available_tasks, load_task, task_kind
from calip_core.datasets.builtin import solids as mini_solids
from calip_core.datasets.clouds import views
from calip_core.datasets.clouds.task import CloudSplit, CloudTask
from calip_core.datasets.clouds.views import Projection, view_task
from calip_core.features import FeatureStore, choose_images, encode_split
from calip_core.pointclouds.projection import depth_maps, encoder_input
from calip_core.pointclouds.views import view_set
from tests.backbones.clips import random_clip

NAMES = ("ball", "bar", "disc")
LABELS = np.array([0, 1, 2, 0, 1])


class Blobs:
    """Gives five elongated clouds of 60 points."""

    def __call__(self, index):
        rng = np.random.default_rng(index)
        return (rng.normal(size=(60, 3)) * [1, 1 + index, 2] + 3).astype(np.float32)


def blobs(identity="blobs", up="y", shuffled=False):
    splits = {"train": CloudSplit(Blobs(), [], "none"), "val": CloudSplit(Blobs(), [], "none")}
    splits["test"] = CloudSplit(Blobs(), LABELS, identity)
    return CloudTask("blobs", "Blobs", NAMES, ("a {}.",), splits, "MIT", "drawn here", up=up, shuffled=shuffled)


@pytest.fixture
def task(tmp_path):
    return view_task(blobs(), Projection(points=50), tmp_path)


@pytest.fixture(scope="module")
def backbone():
    return Backbone.from_clip("random", random_clip("vit"), precision="fp32")


def test_every_view_of_every_cloud_is_an_image(task):
    test = task.splits["test"]
    assert (test.views, len(test)) == (6, 30)
    assert (test.labels == np.repeat(LABELS, 6)).all()
    assert task.view_set == "pointclip" and task.projection == "pointclip, 50 points"
    expected = depth_maps(torch.from_numpy(np.stack([test.clouds[i] for i in range(5)])), "pointclip")
    for index in (0, 5, 6, 29, -1):
        assert torch.equal(test.depth_map(index), expected.flatten(0, 1)[index])
    with pytest.raises(IndexError):
        test.depth_map(30)


def test_whole_clouds_fill_the_unit_sphere_and_are_then_cut(task, tmp_path):
    points = task.splits["test"].clouds[0]
    assert points.shape == (50, 3) and points.dtype == np.float32
    whole = view_task(blobs(), Projection(points=60), tmp_path).splits["test"].clouds[0]
    assert np.linalg.norm(whole, axis=1).max() == pytest.approx(1, abs=1e-6)
    assert (points == whole[:50]).all()


def test_a_limit_projects_no_other_clouds(task, backbone, monkeypatch):
    drawn = []

    def counted(points, chosen):
        drawn.append(len(points))
        return depth_maps(points, chosen)

    monkeypatch.setattr(views, "depth_maps", counted)
    encode_split(backbone, task.splits["test"], limit=2, progress=False)
    assert sum(drawn) == 2


def test_pictures_are_for_people_and_inputs_for_encoders(task):
    test = task.splits["test"]
    picture, label = test[3]
    assert picture.mode == "RGB" and picture.size == (128, 128) and label == 0
    seen = torch.from_numpy(np.array(picture)[..., 0]).float() / 255 * view_set("pointclip").largest_value
    assert torch.allclose(seen, test.depth_map(3), atol=0.01)
    assert torch.equal(test.encoder_input(3, pytest.fail, 64), encoder_input(test.depth_map(3)[None, None], 64)[0])


def test_a_split_can_go_to_a_worker_process(task):
    test = task.splits["test"]
    before = test.depth_map(7)
    assert torch.equal(pickle.loads(pickle.dumps(test)).depth_map(7), before)


def test_what_changes_the_maps_changes_what_they_are_identity(tmp_path, monkeypatch):
    def identity(cloud_task, **options):
        return view_task(cloud_task, Projection(**{"points": 50, **options}), tmp_path).splits["test"].identity

    variants = [
        identity(blobs()), identity(blobs("others")), identity(blobs(up="z")), identity(blobs(), points=40),
        identity(blobs(), jitter=0.1), identity(blobs(), turn="y"), identity(blobs(), turn="y", seed=1),
        identity(blobs(), views="pointclip_v2"), identity(blobs(shuffled=True)),
    ]  # fmt: skip
    assert len(set(variants)) == len(variants)
    assert identity(blobs()) == variants[0]
    monkeypatch.setattr(scipy, "__version__", "another")  # whose rotations turn the clouds
    assert identity(blobs()) not in variants


@pytest.mark.parametrize("package", ["torch", "trimesh", "scikit-image", "scipy"])
def test_solids_are_sampled_anew_by_another_version_of_what_makes_them(package, monkeypatch, tmp_path):
    def identity():
        return [split.identity for split in mini_solids.load_mini_solids(tmp_path, {"test": 4}).splits.values()]

    before = identity()
    version = importlib.metadata.version
    monkeypatch.setattr(machine, "version", lambda name: "another" if name == package else version(name))
    assert not set(before) & set(identity())


def test_a_projection_says_what_it_changes():
    assert str(Projection()) == "pointclip, 1024 points"
    changed = Projection("pointclip_v2", points=64, turn="any", jitter=0.05, seed=3)
    assert str(changed) == "pointclip_v2, 64 points, turned about any, seed 3, noise 0.05, seed 3"


def test_a_projection_is_read_as_records_name_it():
    for projection in (Projection(), Projection("pointclip_v2"), Projection("bright_voxels", points=512)):
        assert Projection.parse(str(projection)) == projection
    assert Projection.parse("pointclip_v2") == Projection("pointclip_v2")
    for text, said in (("pointclop", "views is 'pointclop'"), ("pointclip, few points", "'pointclip, few points', ")):
        with pytest.raises(ValueError, match=said):
            Projection.parse(text)


@pytest.mark.usefixtures("shapes_unchecked")
@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"views": "sideways"}, "views is 'sideways', expected one of .*pointclip"),
        ({"points": 1}, "points is 1, expected at least 2"),
        ({"turn": "w"}, "turn is 'w', expected one of none, x, y, z, any"),
        ({"jitter": -0.1}, "jitter is -0.1"),
        ({"jitter": float("nan")}, "jitter is nan"),
    ],
)
def test_a_projection_that_cannot_be_is_refused(options, said):
    with pytest.raises(ValueError, match=said):
        Projection(**options)


def test_a_limit_draws_whole_clouds(task):
    chosen = np.array(choose_images(task.splits["test"], 2, seed=0))
    assert len(chosen) == 12
    assert (chosen.reshape(2, 6) % 6 == np.arange(6)).all()
    assert len(choose_images(task.splits["test"], 5, seed=0)) == 30


def test_the_store_keeps_what_encoding_gives(task, backbone, tmp_path):
    test = task.splits["test"]
    chosen = choose_images(test, 2, 0)
    inputs = torch.stack([test.encoder_input(i, backbone.preprocess, backbone.resolution) for i in chosen])
    expected = backbone.encode_image(inputs)
    tokens, labels = encode_split(backbone, test, limit=2, progress=False)
    store = FeatureStore.encode(backbone, test, root=tmp_path, limit=2, stored="float32", progress=False)
    for found in (tokens, store.tokens()):
        assert torch.allclose(found.pooled, expected.pooled, atol=1e-6)
    assert (labels == store.labels).all() and len(set(labels[:6])) == 1


def test_another_projection_gets_another_store(backbone, tmp_path):
    folders = {
        FeatureStore.encode(
            backbone, view_task(blobs(), Projection(points=50, jitter=noise), tmp_path).splits["test"],
            root=tmp_path, progress=False,
        ).folder
        for noise in (0.0, 0.1, 0.0)
    }  # fmt: skip
    assert len(folders) == 2


def test_too_few_points_name_the_cloud(tmp_path):
    task = view_task(blobs(), Projection(points=61), tmp_path)
    with pytest.raises(ValueError, match="blobs, test cloud 0 has 60 points, fewer than the 61 asked for"):
        task.splits["test"].depth_map(0)


def test_clouds_load_by_name_with_options(monkeypatch, tmp_path):
    monkeypatch.setenv("CALIP_CACHE", str(tmp_path))
    task = load_task("mini-solids", points=32, views="pointclip_v2", sizes={"test": 4})
    assert len(task.splits["test"]) == 40
    assert task.splits["test"].clouds[0].shape == (32, 3)
    with pytest.raises(TypeError, match="no option colour; it has: prompts, views, points, turn, jitter, seed, sizes"):
        load_task("mini-solids", colour="red")
    with pytest.raises(ValueError, match="views is 'sideways', expected one of .*pointclip"):
        load_task("mini-solids", views="sideways")


def test_own_clouds_load_by_path(monkeypatch, tmp_path):
    monkeypatch.setenv("CALIP_CACHE", str(tmp_path / "cache"))
    for name in ("one", "two"):
        (tmp_path / "own" / name).mkdir(parents=True)
        for number in range(5):
            np.save(tmp_path / "own" / name / f"{number}.npy", Blobs()(number))
    task = load_task("points:own", root=tmp_path, points=60, up="z")
    assert task.classnames == ("one", "two") and sum(len(s) for s in task.splits.values()) == 60
    assert task.splits["test"].depth_map(0).max() > 0
    assert task.splits["test"].fewest_points() == 60
    with pytest.raises(ValueError, match=r"own/one/\d.npy has 60 points, fewer than the 61 asked for"):
        load_task("points:own", root=tmp_path, points=61).splits["test"].depth_map(0)


def test_own_clouds_are_thinned_out_and_not_cut_off(monkeypatch, tmp_path):
    monkeypatch.setenv("CALIP_CACHE", str(tmp_path / "cache"))
    (tmp_path / "own" / "line").mkdir(parents=True)
    for number in range(8):  # a scan in the order of its lines
        np.save(tmp_path / "own" / "line" / f"{number}.npy", np.linspace([-1.0, 0, 0], [1, 0, 0], 1000))
    points = load_task("points:own", root=tmp_path, points=100).splits["test"].clouds[0]
    assert points[:, 0].min() < -0.8 and points[:, 0].max() > 0.8


def test_kinds_of_tasks_are_told_apart():
    assert task_kind("mini-solids") == task_kind("ModelNet40") == task_kind("points:here") == "clouds"
    assert task_kind("eurosat") == task_kind("folder:here") == "images"
    assert set(available_tasks("clouds")) == {
        "mini-solids", "modelnet10", "modelnet40", "scanobjectnn", "scanobjectnn_obj_bg", "scanobjectnn_pb_t50_rs"
    }  # fmt: skip
    assert set(available_tasks()) == set(available_tasks("images")) | set(available_tasks("clouds"))
