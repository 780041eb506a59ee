"""The fifteen datasets of images through the real loader, by CoOp's split file and by their own; what is refused."""

import json
import pickle
import shutil
import warnings
from typing import get_args

import pytest
from scipy.io import loadmat, savemat

from calip_core.datasets import disk_datasets, load_card, load_task
from calip_core.datasets.cards import Reader
from calip_core.datasets.readers.coop import READERS
from calip_core.datasets.readers.disk import MARKER, IncompleteDatasetError, MissingDatasetError
from calip_core.datasets.standins import write_standin
from tests.datasets.conftest import CLASSES, IMAGES

NAMES = {
    "caltech101": ("face", "leopard", "motorbike"),
    "oxford_pets": ("abyssinian", "american bulldog", "bengal"),
    "stanford_cars": ("2000 AM General Hummer SUV", "2012 Acura RL Sedan", "2012 Acura TL Sedan"),
    "oxford_flowers": ("pink primrose", "hard-leaved pocket orchid", "canterbury bells"),
    "food101": ("apple pie", "baby back ribs", "baklava"),
    "fgvc_aircraft": ("707-320", "737-200", "747-400"),
    "sun397": ("abbey", "airport terminal", "shop bakery"),
    "dtd": ("banded", "blotchy", "braided"),
    "eurosat": ("Annual Crop Land", "Forest", "Herbaceous Vegetation Land"),
    "ucf101": ("Apply Eye Makeup", "Apply Lipstick", "Archery"),
    "imagenet": ("tench", "goldfish", "great white shark"),
    "imagenet_v2": ("tench", "goldfish", "great white shark"),
    "imagenet_sketch": ("tench", "goldfish", "great white shark"),
    "imagenet_a": ("stingray", "house finch", "magpie"),
    "imagenet_r": ("goldfish", "ostrich", "jay"),
}
WITH_SPLIT_FILE = [name for name in disk_datasets(kind="images") if load_card(name).layout.split_file]
SPLIT = "split_zhou_DescribableTextures.json"


def folder_of(name):
    return load_card(name).layout.places[0].folder


def contents(task):
    """File -> (split, label) of every image."""
    return {
        path: (split, int(label))
        for split, images in task.splits.items()
        for path, label in zip(images.paths, images.labels, strict=True)
    }


def without_split_file(name, copied):
    root = copied(folder_of(name))
    (root / folder_of(name) / load_card(name).layout.split_file).unlink()
    return root


def test_there_is_a_reader_for_every_kind_of_card():
    assert set(READERS) == set(get_args(Reader))


@pytest.mark.parametrize("name", disk_datasets(kind="images"))
def test_a_dataset_is_read(name, standins):
    card, task = load_card(name), load_task(name, standins)
    assert task.classnames == NAMES[name]
    assert (task.name, task.title) == (name, f"{card.title} (stand-in)")
    assert task.templates == card.templates
    assert task.split_source.startswith(f"stand-in: {card.layout.split_file or ''}")
    assert len(contents(task)) == CLASSES * IMAGES  # every image once, in one split alone
    assert all(path.is_file() for path in contents(task))
    assert set(task.splits["test"].labels) == set(range(CLASSES))
    image, label = task.splits["test"][-1]
    assert (image.mode, image.size, label) == ("RGB", (24, 24), CLASSES - 1)


def test_paths_are_a_sequence_of_files(standins):
    paths = load_task("eurosat", standins).splits["test"].paths
    assert len(paths[2:5]) == 3
    assert list(paths[2:5]) == list(paths)[2:5]
    assert paths[-1] == list(paths)[-1]


@pytest.mark.parametrize("name", WITH_SPLIT_FILE)
def test_its_own_split_serves_where_the_split_file_is_absent(name, standins, copied):
    with_file, own = load_task(name, standins), load_task(name, without_split_file(name, copied))
    assert own.classnames == with_file.classnames
    assert "split_zhou" not in own.split_source
    assert len(contents(own)) == CLASSES * IMAGES
    for split in own.splits.values():
        assert set(split.labels) == set(range(CLASSES))


@pytest.mark.parametrize(("name", "sizes"), [("eurosat", (15, 6, 9)), ("food101", (18, 3, 9)), ("dtd", (9, 12, 9))])
def test_splits_are_cut_as_the_card_says(name, sizes, copied):
    task = load_task(name, without_split_file(name, copied))
    assert tuple(len(split) for split in task.splits.values()) == sizes


def test_a_cut_by_rule_is_the_same_wherever_the_data_lie(copied, tmp_path):
    root = without_split_file("eurosat", copied)
    before = {path.name: where for path, where in contents(load_task("eurosat", root)).items()}
    root.rename(tmp_path / "elsewhere")
    after = {path.name: where for path, where in contents(load_task("eurosat", tmp_path / "elsewhere")).items()}
    assert after == before


def test_the_official_split_of_flowers_serves_before_a_cut_of_our_own(copied):
    root = without_split_file("oxford_flowers", copied)
    official = load_task("oxford_flowers", root)
    assert official.split_source == "stand-in: setid.mat"
    numbers = loadmat(root / "oxford_flowers/setid.mat")["tstid"].ravel()
    assert [path.name for path in official.splits["test"].paths] == [f"image_{number:05}.jpg" for number in numbers]
    (root / "oxford_flowers/setid.mat").unlink()
    cut = load_task("oxford_flowers", root)
    assert "cut 50/20/30 in every class" in cut.split_source
    assert tuple(len(split) for split in cut.splits.values()) == (15, 6, 9)


@pytest.mark.parametrize(
    ("test", "message"),
    [([0], "numbers the image 0, expected 1 to 30"), ([31], "numbers the image 31"), ([1], "1 images in two splits")],
)
def test_a_damaged_official_split_of_flowers_is_named(test, message, copied):
    root = without_split_file("oxford_flowers", copied)
    savemat(root / "oxford_flowers/setid.mat", {"trnid": [[1, 2]], "valid": [[3]], "tstid": [test]})
    with pytest.raises(ValueError, match=message):
        load_task("oxford_flowers", root)


def test_official_lists_are_followed(copied):
    root = without_split_file("dtd", copied)
    task = load_task("dtd", root)
    listed = (root / "dtd/labels/val1.txt").read_text().split()
    assert [path.relative_to(root / "dtd/images").as_posix() for path in task.splits["val"].paths] == listed


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("caltech101", "caltech-101", "caltech101"),
        ("oxford_pets", "oxford_pets", "oxford-iiit-pet"),
        ("oxford_flowers", "oxford_flowers", "flowers-102"),
        ("fgvc_aircraft", "fgvc_aircraft", "fgvc-aircraft-2013b/data"),
        ("dtd", "dtd", "dtd/dtd"),
        ("imagenet", "imagenet/images/val", "imagenet/val"),
        ("imagenet_a", "imagenet-adversarial/imagenet-a", "imagenet-a"),
    ],
)
def test_torchvisions_layout_is_read_too(name, old, new, copied, tmp_path):
    root, other = copied(folder_of(name)), tmp_path / "torchvision"
    expected = load_task(name, root).classnames
    marker = json.loads((root / folder_of(name) / MARKER).read_text())
    (other / new).parent.mkdir(parents=True)
    (root / old).rename(other / new)
    if name == "imagenet":
        marker["images"] = CLASSES * 3  # without the training images
    if name in ("imagenet", "imagenet_a"):
        ((other / new).parent / MARKER).write_text(json.dumps(marker))
    assert load_task(name, other).classnames == expected


def test_sun397s_lists_may_lie_among_its_images_as_in_torchvisions_archive(copied, tmp_path):
    root = without_split_file("sun397", copied)
    for file in (root / "sun397").glob("*.txt"):
        file.rename(root / "sun397/SUN397" / file.name)
    shutil.move(root / "sun397/SUN397", tmp_path / "flat/SUN397")
    shutil.move(root / "sun397" / MARKER, tmp_path / "flat" / MARKER)
    assert load_task("sun397", tmp_path / "flat").classnames == NAMES["sun397"]


def test_imagenets_test_is_the_official_val_and_val_comes_from_train(standins):
    task = load_task("imagenet", standins)
    where = {split: {path.parents[1].name for path in images.paths} for split, images in task.splits.items()}
    assert where == {"train": {"train"}, "val": {"train"}, "test": {"val"}}


@pytest.mark.parametrize(("choice", "first", "count"), [(None, "itap of a {}.", 7), ("80", "a bad photo of a {}.", 80)])
def test_imagenet_has_sets_of_templates(choice, first, count, standins):
    task = load_task("ImageNet", standins, template_set=choice)
    assert (task.templates[0], len(task.templates)) == (first, count)


def test_numbered_folders_are_in_the_order_of_numbers(tmp_path):
    write_standin("imagenet_v2", tmp_path, classes=12, images=5, resolution=8)
    names = load_task("imagenet_v2", tmp_path).classnames
    assert (names[2], names[10], names[11]) == ("great white shark", "brambling", "goldfinch")


def test_curated_names_serve_without_classnames_txt(copied):
    root = copied("imagenet-rendition")
    (root / "imagenet-rendition/classnames.txt").unlink()
    assert load_task("imagenet_r", root).classnames == NAMES["imagenet_r"]


def test_listed_names_serve_without_cat_to_name(copied):
    root = without_split_file("oxford_flowers", copied)
    (root / "oxford_flowers/cat_to_name.json").unlink()
    with pytest.raises(ValueError, match="has 102 classes .*expected 3 by STANDIN.json"):
        load_task("oxford_flowers", root)


def test_tasks_travel_to_workers(standins):
    split = load_task("eurosat", standins).splits["test"]
    assert pickle.loads(pickle.dumps(split))[0][0].size == (24, 24)


def test_a_benchmarks_image_is_read_as_it_is_stored(copied):
    root = copied("eurosat")
    task = load_task("eurosat", root)
    image = task.splits["test"][0][0].resize((24, 12))
    exif = image.getexif()
    exif[0x0112] = 6  # to be turned by a quarter
    image.save(task.splits["test"].paths[0], exif=exif)
    assert task.splits["test"][0][0].size == (24, 12)


# What is refused


def test_a_missing_root_says_what_was_looked_for_and_how_to_get_it(tmp_path):
    with pytest.raises(MissingDatasetError, match=r"no data root .*nowhere, looked for DTD.*calip fetch dtd --root"):
        load_task("dtd", tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match=r"DTD is not under .*looked for the folder .*dtd/images or .*dtd/dtd"):
        load_task("dtd", tmp_path)


def test_the_default_root_comes_from_the_environment(standins, tmp_path, monkeypatch):
    monkeypatch.setenv("CALIP_DATA", str(standins))
    assert load_task("dtd").classnames == NAMES["dtd"]
    monkeypatch.setenv("CALIP_DATA", str(tmp_path / "empty"))
    with pytest.raises(FileNotFoundError, match="empty"):
        load_task("dtd")


def test_a_folder_without_its_images_is_incomplete(copied):
    root = copied("dtd")
    shutil.rmtree(root / "dtd/images")
    with pytest.raises(IncompleteDatasetError, match=r"DTD is incomplete: .*dtd has no folder images"):
        load_task("dtd", root)


def test_absent_images_are_listed(copied):
    root = copied("dtd")
    for file in (root / "dtd/images/blotchy").iterdir():
        file.unlink()
    with pytest.raises(IncompleteDatasetError, match=rf"10 of 30 images that {SPLIT} names.*blotchy_0001") as caught:
        load_task("dtd", root)
    assert str(caught.value).count(".jpg") == 10


def test_of_many_absent_images_a_file_has_the_whole_list(copied, tmp_path, monkeypatch):
    monkeypatch.setenv("CALIP_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("calip_core.datasets.readers.disk.SHOWN", 3)
    root = copied("dtd")
    for file in (root / "dtd/images/blotchy").iterdir():
        file.unlink()
    with pytest.raises(IncompleteDatasetError, match=r"blotchy_0003.jpg, and 7 more; all are listed in ") as caught:
        load_task("dtd", root)
    (listed,) = (tmp_path / "cache/lists").iterdir()
    assert str(listed) in str(caught.value)
    assert listed.read_text().split() == [f"blotchy/blotchy_{number:04}.jpg" for number in range(1, 11)]
    monkeypatch.setenv("CALIP_CACHE", str(listed / "not a folder"))  # the message comes all the same
    with pytest.raises(IncompleteDatasetError, match=r"blotchy_0003.jpg, and 7 more\. Was"):
        load_task("dtd", root)


@pytest.mark.parametrize("written", ["{}", "./{}"])
def test_an_image_in_two_splits_is_refused(written, copied):
    root = copied("dtd")
    split = json.loads((root / "dtd" / SPLIT).read_text())
    path, *rest = split["test"][0]
    split["train"][0] = [written.format(path), *rest]
    (root / "dtd" / SPLIT).write_text(json.dumps(split))
    with pytest.raises(ValueError, match=rf"{SPLIT} has 1 images in two splits: .*{path} \(train and test\)"):
        load_task("dtd", root)


def test_an_image_in_two_official_lists_is_refused(copied):
    root = without_split_file("food101", copied)
    test = (root / "food-101/meta/test.txt").read_text().splitlines()
    train = root / "food-101/meta/train.txt"
    train.write_text("\n".join([*train.read_text().splitlines()[1:], test[0]]))
    with pytest.raises(ValueError, match=rf"meta/train.txt, meta/test.txt has 1 images in two splits: {test[0]}.jpg"):
        load_task("food101", root)


def test_images_absent_from_official_lists_are_listed_too(copied):
    root = without_split_file("ucf101", copied)
    next((root / "ucf101/UCF-101-midframes/Archery").iterdir()).unlink()
    with pytest.raises(IncompleteDatasetError, match=r"1 of 30 images that ucfTrainTestlist.*Archery/v_Archery_g"):
        load_task("ucf101", root)


def test_too_few_images_in_class_folders_are_noticed(copied):
    root = without_split_file("eurosat", copied)
    (root / "eurosat/2750/Forest/Forest_3.jpg").unlink()
    with pytest.raises(IncompleteDatasetError, match=r"has 14/5/10 \(.* images .*expected 30 in all by STANDIN"):
        load_task("eurosat", root)


def test_an_empty_class_folder_is_named(copied):
    root = without_split_file("eurosat", copied)
    for file in (root / "eurosat/2750/Forest").iterdir():
        file.unlink()
    with pytest.raises(IncompleteDatasetError, match="class folder .*Forest has no images"):
        load_task("eurosat", root)


def test_without_its_marker_a_stand_in_is_counted_against_the_card(copied):
    root = copied("eurosat")
    (root / "eurosat" / MARKER).unlink()
    with pytest.raises(ValueError, match="has 3 classes by split_zhou_EuroSAT.json, expected 10 by the card eurosat"):
        load_task("eurosat", root)


@pytest.mark.parametrize(
    ("sizes", "own_split", "fault"),
    [
        ((15, 6, 9), False, None),
        ((15, 6, 10), False, IncompleteDatasetError),
        ((15, 6, 8), False, ValueError),
        ((14, 7, 9), False, IncompleteDatasetError),  # a split file is believed image by image,
        ((14, 7, 9), True, None),  # a cut of our own in sum
        ((15, 7, 9), True, IncompleteDatasetError),
    ],
)
def test_sizes_are_counted_against_the_card(sizes, own_split, fault, copied, monkeypatch):
    root = without_split_file("eurosat", copied) if own_split else copied("eurosat")
    (root / "eurosat" / MARKER).unlink()
    expected = dict(zip(("train", "val", "test"), sizes, strict=True))
    card = load_card("eurosat").model_copy(update={"classes": 3, "sizes": expected})
    monkeypatch.setattr("calip_core.datasets.readers.coop.load_card", lambda name: card)
    if fault is None:
        task = load_task("eurosat", root)
        assert (task.title, task.licence) == ("EuroSAT", "MIT")
        assert "stand-in" not in task.split_source
        return
    with pytest.raises(fault, match=r"has 15/6/9 \(train/val/test\) .* expected .* by the card eurosat.yaml") as caught:
        load_task("eurosat", root)
    assert type(caught.value) is fault


@pytest.mark.parametrize("text", ["{", '{"dataset": "dtd"}'])
def test_a_damaged_marker_is_named(text, copied):
    root = copied("dtd")
    (root / "dtd" / MARKER).write_text(text)
    with pytest.raises(ValueError, match="STANDIN.json cannot be read as the mark of a stand-in"):
        load_task("dtd", root)


def test_another_datasets_marker_is_refused(copied):
    root = copied("dtd", "eurosat")
    shutil.copy(root / "eurosat" / MARKER, root / "dtd" / MARKER)
    with pytest.raises(ValueError, match="stand-in of 'eurosat', expected 'dtd'"):
        load_task("dtd", root)


ROW = ["banded/banded_0001.jpg", 0, "banded"]


@pytest.mark.parametrize(
    ("split", "message"),
    [
        ("{", "cannot be read as JSON"),
        ("[" * 100_000, "cannot be read as JSON .*RecursionError"),
        ([], "is not a split: it holds list, expected the lists train, val, test"),
        ({"train": []}, r"it holds \['train'\]"),
        ({"train": {}, "val": [], "test": []}, "train is dict, expected a list of images"),
        ({"train": [["a.jpg", 0]], "val": [], "test": []}, r"an image is \['a.jpg', 0\], expected \[path, label"),
        ({"train": [["a.jpg", "0", "a"]], "val": [], "test": []}, "an image is"),
        ({"train": [["a.jpg", True, "a"]], "val": [], "test": []}, "an image is"),
        ({"train": [ROW, ["banded/b.jpg", 0, "dotted"]], "val": [], "test": []}, "class 0 is called 'banded' and 'dot"),
        ({"train": [["a.jpg", 1, "a"]], "val": [], "test": []}, r"its labels are \[1\]"),
        ({"train": [["../../a.jpg", 0, "a"]], "val": [], "test": []}, "'../../a.jpg', which leads out"),
        ({"train": [["/etc/passwd", 0, "a"]], "val": [], "test": []}, "'/etc/passwd', which leads out"),
        ({"train": [["C:\\a.jpg", 0, "a"]], "val": [], "test": []}, "leads out"),
        ({"train": [["a\\..\\..\\b.jpg", 0, "a"]], "val": [], "test": []}, "leads out"),
        ({"train": [ROW], "val": [], "test": []}, "has 1 classes .*expected 3 by STANDIN.json"),
    ],
)
def test_what_is_no_split_is_refused(split, message, copied):
    root = copied("dtd")
    (root / "dtd" / SPLIT).write_text(split if isinstance(split, str) else json.dumps(split))
    with pytest.raises(ValueError, match=message):
        load_task("dtd", root)


def test_an_image_that_does_not_decode_is_named(copied):
    root = copied("dtd")
    task = load_task("dtd", root)
    task.splits["test"].paths[0].write_bytes(b"no image")
    with pytest.raises(ValueError, match=f"{task.splits['test'].paths[0].name} cannot be read as an image"):
        task.splits["test"][0]


@pytest.mark.parametrize(
    ("name", "file", "message"),
    [
        ("oxford_pets", "annotations/trainval.txt", "incomplete: it has no annotations/trainval.txt.*split_zhou_Ox"),
        ("stanford_cars", "devkit/cars_meta.mat", "no devkit/cars_meta.mat"),
        ("oxford_flowers", "imagelabels.mat", "no imagelabels.mat"),
        ("food101", "meta/test.txt", "no meta/test.txt"),
        ("fgvc_aircraft", "variants.txt", "no variants.txt; put it into that folder, `calip fetch fgvc_aircraft`"),
        ("sun397", "ClassName.txt", "no ClassName.txt"),
        ("ucf101", "ucfTrainTestlist/classInd.txt", "no ucfTrainTestlist/classInd.txt"),
    ],
)
def test_an_absent_list_is_named(name, file, message, copied):
    root = without_split_file(name, copied) if name in WITH_SPLIT_FILE else copied(folder_of(name))
    (root / folder_of(name) / file).unlink()
    with pytest.raises(IncompleteDatasetError, match=message):
        load_task(name, root)


@pytest.mark.parametrize(
    ("name", "file", "text", "message"),
    [
        ("oxford_pets", "annotations/test.txt", "Abyssinian_1 one 1 1", "has the line 'Abyssinian_1 one 1 1'"),
        ("oxford_pets", "annotations/test.txt", "../Abyssinian_1 1 1 1", "leads out"),
        ("stanford_cars", "devkit/cars_meta.mat", "x", "cannot be read as a MATLAB file"),
        ("oxford_flowers", "imagelabels.mat", "x", "cannot be read as a MATLAB file"),
        ("oxford_flowers", "cat_to_name.json", "x", "cannot be read as JSON"),
        ("oxford_flowers", "cat_to_name.json", '{"a": "b"}', "does not name classes"),
        ("oxford_flowers", "cat_to_name.json", '{"1": "b"}', "labels from 1 to 3, expected 1 to 1"),
        ("food101", "meta/test.txt", "apple_pie", "has the line 'apple_pie', expected class/image"),
        ("fgvc_aircraft", "images_variant_val.txt", "0034309 A999", "has the line '0034309 A999'"),
        ("sun397", "Testing_01.txt", "/z/zoo/sun_a.jpg", "has the line '/z/zoo/sun_a.jpg'"),
        ("ucf101", "ucfTrainTestlist/testlist01.txt", "Archery/v.mp4", "has the line 'Archery/v.mp4'"),
        ("imagenet_a", "classnames.txt", "n01440764", "has the line 'n01440764', expected a WordNet id and a name"),
        ("imagenet_a", "classnames.txt", "n01440764 tench", "has the folder n.*, which is not a class of ImageNet"),
    ],
)
def test_a_damaged_list_is_named(name, file, text, message, copied):
    root = without_split_file(name, copied) if name in WITH_SPLIT_FILE else copied(folder_of(name))
    (root / folder_of(name) / file).write_text(text)
    with pytest.raises(ValueError, match=message):
        load_task(name, root)


def test_annotations_without_labels_are_recognised(copied):
    root = without_split_file("stanford_cars", copied)
    meta, labels = root / "stanford_cars/devkit/cars_meta.mat", root / "stanford_cars/cars_test_annos_withlabels.mat"
    shutil.copy(meta, labels)
    with pytest.raises(ValueError, match=r"variables \['class_names'\], expected annotations"):
        load_task("stanford_cars", root)


def test_imagenet_with_a_class_in_train_alone_is_incomplete(copied):
    root = copied("imagenet")
    shutil.rmtree(root / "imagenet/images/val/n01443537")
    with pytest.raises(IncompleteDatasetError, match=r"\['n01443537'\] are in only one of train and val"):
        load_task("imagenet", root)
    shutil.rmtree(root / "imagenet/images/val")
    with pytest.raises(IncompleteDatasetError, match="no folder val"):
        load_task("imagenet", root)


@pytest.mark.parametrize(
    ("name", "doubled"),
    [
        ("stanford_cars", ["cars_train", "cars_test"]),
        ("eurosat", ["2750"]),
        ("food101", [""]),
        ("food101", ["", "images"]),
        ("caltech101", ["101_ObjectCategories"]),
        ("imagenet", ["images"]),
    ],
)
@pytest.mark.parametrize("with_split_file", [True, False])
def test_a_copy_that_is_packed_one_level_too_deep_is_read(name, doubled, with_split_file, standins, copied):
    """As Kaggle's copies of Stanford Cars (cars_train/cars_train) and of others are."""
    root = copied(folder_of(name)) if with_split_file or name == "imagenet" else without_split_file(name, copied)
    if with_split_file or name == "imagenet":
        expected = [path.name for path in contents(load_task(name, standins))]
    else:
        expected = [path.name for path in contents(load_task(name, root))]
    for part in sorted(doubled, reverse=True):
        folder = root / folder_of(name) / part
        folder.rename(root / "moved")
        folder.mkdir()
        (root / "moved").rename(folder / folder.name)
    task = load_task(name, root)
    assert [path.name for path in contents(task)] == expected
    assert all(path.is_file() for path in contents(task))


def test_a_split_file_beside_a_copy_that_is_packed_too_deep_is_followed(standins, copied):
    root = copied("food-101")
    (root / "food-101").rename(root / "moved")
    (root / "food-101").mkdir()
    (root / "moved").rename(root / "food-101/food-101")
    (root / "food-101/food-101/split_zhou_Food101.json").rename(root / "food-101/split_zhou_Food101.json")
    assert "split_zhou" in load_task("food101", root).split_source


def test_a_class_that_is_called_like_its_folder_is_no_folder_too_many(copied):
    root = without_split_file("eurosat", copied)
    shutil.move(root / "eurosat/2750/Forest", root / "eurosat/2750/2750")
    assert "2750" in load_task("eurosat", root).classnames


@pytest.mark.parametrize(
    ("name", "file", "mark"),
    [("food101", "meta/train.txt", "utf-8-sig"), ("food101", "meta/train.txt", "utf-16"), ("dtd", SPLIT, "utf-8-sig")],
)
def test_lists_are_read_as_windows_saves_them(name, file, mark, copied):
    root = copied(folder_of(name)) if file == SPLIT else without_split_file(name, copied)
    expected = contents(load_task(name, root))
    path = root / folder_of(name) / file
    path.write_bytes(path.read_text().replace("\n", "\r\n").encode(mark))
    assert contents(load_task(name, root)) == expected


def test_a_web_page_in_place_of_a_split_is_named(copied):
    root = copied("dtd")
    (root / "dtd" / SPLIT).write_text("<!DOCTYPE html><title>Google Drive - Virus scan warning</title>")
    with pytest.raises(ValueError, match=rf"{SPLIT} cannot be read as JSON .*web page"):
        load_task("dtd", root)


def kaggles_imagenet(tmp_path):
    """A root with the stand-in's images as Kaggle packs them."""
    write_standin("imagenet", tmp_path / "usual", classes=3, images=6, resolution=8)
    usual = load_task("imagenet", tmp_path / "usual")
    kaggles = tmp_path / "kaggle/imagenet"
    (kaggles / "ILSVRC/Data/CLS-LOC/val").mkdir(parents=True)
    shutil.copytree(tmp_path / "usual/imagenet/images/train", kaggles / "ILSVRC/Data/CLS-LOC/train")
    lines = ["ImageId,PredictionString"]
    for path in usual.splits["test"].paths:
        lines.append(f"{path.parent.name}_{path.stem},{path.parent.name} 85 1 499 272 ")
        shutil.copy(path, kaggles / f"ILSVRC/Data/CLS-LOC/val/{path.parent.name}_{path.stem}.JPEG")
    (kaggles / "LOC_val_solution.csv").write_text("\n".join(lines) + "\n")
    for path in (tmp_path / "usual/imagenet").iterdir():  # the class names, and the mark of a stand-in
        if path.is_file():
            shutil.copy(path, kaggles)
    return tmp_path / "kaggle"


def test_imagenet_as_kaggle_packs_it(tmp_path):
    task = load_task("imagenet", kaggles_imagenet(tmp_path))
    usual = load_task("imagenet", tmp_path / "usual")
    assert task.classnames == usual.classnames
    assert sorted(task.splits["test"].labels) == sorted(usual.splits["test"].labels)


@pytest.fixture
def part_of_imagenet(copied):
    """A root whose ImageNet has 3 of 1000 classes: the stand-in's files, without the mark of a stand-in."""
    root = copied("imagenet")
    (root / "imagenet" / MARKER).unlink()
    return root


def test_a_part_of_imagenet_is_read_and_labelled_so(part_of_imagenet):
    with pytest.warns(UserWarning, match=r"ImageNet in .*imagenet is only a part: 3 of 1000 classes; .* 9 of 50000;"):
        task = load_task("imagenet", part_of_imagenet)
    assert task.part == (
        "3 of 1000 classes; images (train, val, test): 18 of 1231167, 3 of 50000, 9 of 50000"
    )
    assert task.title == "ImageNet (a part)"
    assert not task.standin and len(task.classnames) == 3


def test_fewer_images_than_imagenets_are_a_part(part_of_imagenet):
    shutil.rmtree(part_of_imagenet / "imagenet/images/train")
    with pytest.warns(UserWarning, match="only a part"):
        task = load_task("imagenet@80", part_of_imagenet)
    assert task.part == "3 of 1000 classes; images (train, val, test): 0 of 0, 0 of 0, 9 of 50000"
    assert len(task.templates) == 80


def test_all_of_a_standin_is_no_part(standins):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert load_task("imagenet", standins).part is None


def test_a_part_of_kaggles_flat_folder_is_read(tmp_path):
    root = kaggles_imagenet(tmp_path)
    (root / "imagenet" / MARKER).unlink()
    shutil.rmtree(root / "imagenet/ILSVRC/Data/CLS-LOC/train")
    next((root / "imagenet/ILSVRC/Data/CLS-LOC/val").iterdir()).unlink()
    with pytest.warns(UserWarning, match="only a part"):
        task = load_task("imagenet", root)
    assert "5 of 50000" in task.part and all(path.is_file() for path in task.splits["test"].paths)


def test_parts_of_other_datasets_are_refused(copied):
    root = copied("dtd")
    (root / "dtd" / MARKER).unlink()
    with pytest.raises(ValueError, match="has 3 classes by .*, expected 47"):
        load_task("dtd", root)
