"""Anyone's own images: classes from sub-folders, stable splits, clear words for what is wrong."""

import os
import socket

import pytest
from PIL import Image

from calip_core.datasets import load_task
from calip_core.datasets.readers.folder import load_folder


def add(path, colour=(10, 20, 30), size=(64, 48), **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.new("RGB", size, colour) if colour else Image.effect_noise(size, 60).convert("RGB")
    image.save(path, **options)
    return path


@pytest.fixture
def animals(tmp_path):
    root = tmp_path / "animals"
    for index in range(10):
        add(root / "red_fox" / f"fox {index}.jpg", (200, 9 * index, 0))
        add(root / "cat" / f"{index}.png", (0, 9 * index, 200))
    return root


def everything(task):
    return [(image.tobytes(), label) for split in ("train", "val", "test") for image, label in task.splits[split]]


def test_sub_folders_are_classes(animals):
    task = load_task(f"folder:{animals}")
    assert task.classnames == ("cat", "red fox")
    assert task.name == f"folder:{animals}"
    assert {split: len(images) for split, images in task.splits.items()} == {"train": 10, "val": 4, "test": 6}
    assert len(set(everything(task))) == 20
    for image, label in task.splits["test"]:
        red, _, blue = image.getpixel((0, 0))
        assert (red > blue) == (label == 1)


def test_the_splits_are_the_same_each_time_and_wherever_the_folder_lies(animals, tmp_path):
    first = everything(load_task(f"folder:{animals}"))
    animals.rename(tmp_path / "elsewhere")
    assert everything(load_task("folder:elsewhere", tmp_path)) == first


def test_paths_start_at_the_root_or_the_working_folder(animals, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert everything(load_task("folder:animals")) == everything(load_task("folder:animals", str(tmp_path)))


def test_a_class_of_one_image_is_tested_on_it(tmp_path):
    add(tmp_path / "cat" / "a.png")
    assert [len(load_folder(tmp_path, "x").splits[s]) for s in ("train", "val", "test")] == [0, 0, 1]


def test_hidden_files_and_other_files_are_ignored(animals):
    expected = everything(load_task(f"folder:{animals}"))
    add(animals / "cat" / ".hidden.png")
    add(animals / ".thumbnails" / "a.png")
    (animals / "cat" / "notes.txt").write_text("meow")
    (animals / "README.md").write_text("animals")
    (animals / "cat" / "folder.png").mkdir()
    assert everything(load_task(f"folder:{animals}")) == expected


def test_links_are_followed(animals, tmp_path):
    (tmp_path / "linked").mkdir()
    (tmp_path / "linked" / "cat").symlink_to(animals / "cat")
    assert len(everything(load_task(f"folder:{tmp_path / 'linked'}"))) == 10


def test_a_photograph_is_turned_upright(tmp_path):
    turned = Image.Exif()
    turned[0x0112] = 6  # the camera was held at 90 degrees
    add(tmp_path / "cat" / "a.jpg", size=(64, 48), exif=turned)
    assert load_folder(tmp_path, "x").splits["test"][0][0].size == (48, 64)


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "1", "CMYK", "LA"])
def test_every_image_comes_as_rgb(tmp_path, mode):
    (tmp_path / "cat").mkdir()
    Image.new("RGB", (9, 9), (255, 255, 255)).convert(mode).save(tmp_path / "cat" / "a.tiff")
    image, _ = load_folder(tmp_path, "x").splits["test"][0]
    assert image.mode == "RGB"
    assert image.getpixel((4, 4)) == (255, 255, 255)


def damage(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    return path


@pytest.fixture(params=["png", "jpg", "gif", "bmp", "webp"])
def damaged(animals, request):
    return damage(add(animals / "cat" / f"broken.{request.param}", colour=None))


def test_a_damaged_image_stops_and_is_named(animals, damaged):
    with pytest.raises(ValueError, match='1 image.* cannot be read.*unreadable="skip"') as caught:
        load_task(f"folder:{animals}")
    assert str(damaged) in str(caught.value)


def test_a_damaged_image_can_be_skipped(animals, damaged):
    with pytest.warns(UserWarning, match="skipped 1 image.*\n.*broken"):
        task = load_task(f"folder:{animals}", unreadable="skip")
    assert len(everything(task)) == 20


@pytest.mark.parametrize("content", [b"", b"words", b"\x89PNG\r\n\x1a\n"])
def test_what_is_no_image_is_named_too(animals, content):
    (animals / "cat" / "fake.png").write_bytes(content)
    with pytest.raises(ValueError, match=r"fake\.png"):
        load_task(f"folder:{animals}")


def test_many_damaged_images_are_counted(animals):
    for index in range(14):
        (animals / "cat" / f"x{index}.png").write_bytes(b"x")
    with pytest.raises(ValueError, match=r"(?s)14 image.*and 4 more"):
        load_task(f"folder:{animals}")


def test_an_image_damaged_later_is_named(animals):
    task = load_task(f"folder:{animals}")
    for file in (animals / "cat").iterdir():
        file.write_bytes(b"")
    with pytest.raises(ValueError, match=r"cat.*\.png cannot be read as an image"):
        task.splits["test"][0]


def test_a_class_without_readable_images_is_named(animals):
    (animals / "dog").mkdir()
    (animals / "dog" / "a.png").write_bytes(b"")
    with pytest.warns(UserWarning, match="skipped"), pytest.raises(ValueError, match="dog has no readable images"):
        load_task(f"folder:{animals}", unreadable="skip")


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="no folder .*nowhere"):
        load_task(f"folder:{tmp_path / 'nowhere'}")


def test_a_file_is_no_folder(tmp_path):
    path = add(tmp_path / "a.png")
    with pytest.raises(NotADirectoryError, match=r"a\.png is a file, expected a folder"):
        load_task(f"folder:{path}")


def test_a_folder_without_classes_is_refused(tmp_path):
    with pytest.raises(ValueError, match="no sub-folders"):
        load_task(f"folder:{tmp_path}")
    add(tmp_path / "a.png")
    with pytest.raises(ValueError, match="no sub-folders"):
        load_task(f"folder:{tmp_path}")


def test_a_class_without_images_is_named(animals):
    add(animals / "dog" / "puppies" / "a.png")
    with pytest.raises(ValueError, match="dog has no images of its own"):
        load_task(f"folder:{animals}")


def test_a_misspelt_choice_is_refused(animals):
    with pytest.raises(ValueError, match='unreadable=\'ignore\', expected "error" or "skip"'):
        load_task(f"folder:{animals}", unreadable="ignore")


def test_folders_that_read_the_same_are_warned_of(tmp_path):
    add(tmp_path / "red_fox" / "a.png")
    add(tmp_path / "red fox" / "a.png")
    with pytest.warns(UserWarning, match="'red fox'"):
        load_task(f"folder:{tmp_path}")


def test_nothing_reaches_the_network(animals, monkeypatch):
    monkeypatch.setattr(socket, "socket", None)
    assert everything(load_task(f"folder:{animals}"))


@pytest.mark.parametrize("suffix", [".HEIC", ".jxl", ".CR2"])
def test_pictures_of_kinds_that_are_not_read_are_counted(animals, suffix):
    for index in range(3):
        (animals / "cat" / f"IMG_{index}{suffix}").write_bytes(b"\0\0\0\x18ftypheic")
    with pytest.warns(UserWarning, match=rf"left out of .*animals: images .* \(3 \{suffix.lower()}\); convert"):
        assert len(everything(load_task(f"folder:{animals}"))) == 20
    for file in (animals / "cat").glob("*.png"):
        file.unlink()
    with pytest.raises(ValueError, match=rf"cat has no images of its own, only images .* \(3 \{suffix.lower()}\)"):
        load_task(f"folder:{animals}")


def test_file_names_that_are_not_utf8_are_read(animals):
    source = (animals / "cat" / "0.png").read_bytes()
    with open(os.fsencode(animals / "cat") + b"/caf\xe9.png", "wb") as file:
        file.write(source)
    assert len(everything(load_task(f"folder:{animals}"))) == 21


def test_a_class_is_not_called_what_is_no_text(animals):
    os.rename(animals / "cat", os.fsencode(animals) + b"/caf\xe9")
    with pytest.raises(ValueError, match=r"animals/caf\\udce9' is not UTF-8.* rename it"):
        load_task(f"folder:{animals}")


def test_a_user_that_is_not_there_is_named():
    with pytest.raises(ValueError, match="~nobody-here/x begins with a home folder that is not known here"):
        load_task("folder:~nobody-here/x")
    with pytest.raises(ValueError, match="~nobody-here/x begins with a home folder"):
        load_task("eurosat", root="~nobody-here/x")
