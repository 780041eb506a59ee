"""Where a dataset's files belong, in the card's layout or in that of the copy which is there."""

import pytest

from calip_core.datasets.cards import load_card
from calip_core.datasets.fetch.whereabouts import Whereabouts


def look(name, root, *folders):
    for folder in folders:
        (root / folder).mkdir(parents=True)
    return Whereabouts.look(load_card(name), root)


def source(name, file):
    (found,) = [source for source in load_card(name).sources if source.file == file]
    return found


@pytest.mark.parametrize(
    ("name", "file", "folders"),
    [
        ("caltech101", "caltech-101.zip", ["caltech101/101_ObjectCategories"]),
        ("oxford_pets", "images.tar.gz", ["oxford-iiit-pet/images"]),
        ("fgvc_aircraft", "fgvc-aircraft-2013b.tar.gz", ["fgvc_aircraft/images"]),
        ("fgvc_aircraft", "fgvc-aircraft-2013b.tar.gz", ["fgvc-aircraft-2013b/data/images"]),
        ("dtd", "dtd-r1.0.1.tar.gz", ["dtd/dtd/images"]),
        ("imagenet", "val, a folder", ["imagenet/images/val"]),
        ("imagenet", "val, a folder", ["imagenet/val"]),
        ("imagenet_a", "imagenet-a.tar", ["imagenet-a"]),
        ("sun397", "SUN397.tar.gz", ["SUN397"]),
        ("modelnet40", "ModelNet40.zip", ["ModelNet40"]),
    ],
)
def test_images_are_known_in_every_layout(name, file, folders, tmp_path):
    assert not Whereabouts.look(load_card(name), tmp_path).has(source(name, file))
    assert look(name, tmp_path, *folders).has(source(name, file))


def test_clouds_of_one_format_are_not_those_of_another(tmp_path):
    folder = tmp_path / "modelnet40/modelnet40_ply_hdf5_2048"
    where = look("modelnet40", tmp_path, folder)
    assert where.found is not None and where.has(source("modelnet40", "modelnet40_ply_hdf5_2048.zip"))
    assert not where.has(source("modelnet40", "ModelNet40.zip"))


def test_lists_belong_beside_the_images_that_are_there(tmp_path):
    where = look("oxford_pets", tmp_path, "oxford-iiit-pet/images")
    annotations, split = (source("oxford_pets", file) for file in ("annotations.tar.gz", "split_zhou_OxfordPets.json"))
    assert where.into(annotations) == tmp_path / "oxford-iiit-pet"
    assert where.goal(split) == tmp_path / "oxford-iiit-pet/split_zhou_OxfordPets.json"


def test_images_are_unpacked_where_the_card_says(tmp_path):
    where = look("modelnet40", tmp_path, "ModelNet40")
    archive = source("modelnet40", "modelnet40_ply_hdf5_2048.zip")
    assert where.into(archive) == tmp_path / "modelnet40"  # below ModelNet40 nobody would look for it
    assert where.goal(archive) == tmp_path / "modelnet40/modelnet40_ply_hdf5_2048"


def test_without_a_copy_everything_is_as_the_card_says(tmp_path):
    where = look("sun397", tmp_path)
    lists = source("sun397", "Partitions.zip")
    assert (where.into(lists), where.goal(lists)) == (tmp_path / "sun397", tmp_path / "sun397/ClassName.txt")
