"""Pictures: every kind comes in RGB as its owner sees it; what cannot be shown is refused."""

import zlib

import numpy as np
import pytest
from PIL import Image

from calip_core.datasets.readers import pictures
from calip_core.datasets.readers.pictures import FORMATS, open_picture

RAMP = np.tile(np.linspace(0, 1, 64), (48, 1))
GREY = np.rint(RAMP * 255).astype(np.uint8)
WORDS = (RAMP * 65535).astype(np.uint16)


def saved(path, values, **options):
    Image.fromarray(values).save(path, **options)
    return path


def pgm(path, values, most):
    path.write_bytes(f"P5\n64 48\n{most}\n".encode() + values.astype(">u2").tobytes())
    return path


@pytest.mark.parametrize(
    "save",
    [
        lambda folder: saved(folder / "x.png", WORDS),
        lambda folder: saved(folder / "x.tif", WORDS),
        lambda folder: pgm(folder / "x.pgm", WORDS, 65535),
        lambda folder: pgm(folder / "x.pgm", RAMP * 1023, 1023),
        lambda folder: saved(folder / "x.tif", RAMP.astype(np.float32)),
    ],
    ids=["png of 16 bits", "tiff of 16 bits", "pgm of 16 bits", "pgm of 10 bits", "float tiff"],
)
def test_a_ramp_of_more_than_8_bits_stays_a_ramp(save, tmp_path):
    image = open_picture(save(tmp_path))
    assert image.mode == "RGB"
    assert (np.abs(np.asarray(image).astype(int) - GREY[..., None]) <= 1).all()


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        (WORDS.astype(np.int32), "32 bits"),
        (RAMP.astype(np.float32) * 255, r"from 0.0 to 255.0, expected 0 to 1"),
        (RAMP.astype(np.float32) * np.nan, "from nan to nan"),
    ],
)
def test_levels_without_a_known_white_are_refused(values, reason, tmp_path):
    path = saved(tmp_path / "x.tif", values)
    with pytest.raises(ValueError, match=rf"{path} cannot be read as an image .*{reason}"):
        open_picture(path)


@pytest.mark.parametrize("kind", ["RGBA", "LA", "P with a transparent colour", "RGB with a transparent colour"])
def test_what_is_hidden_stays_hidden(kind, tmp_path):
    """The left half is transparent, with a dark colour underneath."""
    path = tmp_path / "x.png"
    colours = np.full((8, 8, 4), 100, np.uint8)
    colours[:, :4], colours[:, 4:, 3] = (10, 10, 10, 0), 255
    image = Image.fromarray(colours)
    if "transparent" in kind:
        colour = (10, 10, 10)
        image = image.convert("RGB")
        image = image.quantize(2) if kind[0] == "P" else image
        image.save(path, transparency=image.getpixel((0, 0)) if kind[0] == "P" else colour)
    else:
        image.convert(kind).save(path)
    shown = open_picture(path)
    assert [shown.getpixel(place) for place in ((0, 0), (7, 7))] == [(255,) * 3, (100,) * 3]


def test_half_transparent_places_are_half_white(tmp_path):
    path = tmp_path / "x.png"
    Image.new("RGBA", (4, 4), (0, 0, 0, 128)).save(path)
    assert open_picture(path).getpixel((0, 0)) == (127, 127, 127)


@pytest.mark.parametrize(("kind", "suffix"), [("EPS", "jpg"), ("PDF", "png"), ("ICO", "png"), ("TGA", "bmp")])
def test_other_formats_are_not_opened_whatever_they_are_called(kind, suffix, tmp_path, monkeypatch):
    path = tmp_path / f"x.{suffix}"
    Image.new("RGB", (16, 16)).save(path, kind)
    monkeypatch.setattr("PIL.EpsImagePlugin.Ghostscript", None)
    with pytest.raises(ValueError, match=rf"{path} cannot be read as an image \(UnidentifiedImageError"):
        open_picture(path)


@pytest.mark.parametrize("kind", [*FORMATS, "MPO"])
def test_formats_are_known_by_their_content(kind, tmp_path):
    path = tmp_path / "x.jpg"
    Image.new("RGB", (16, 8), (250, 250, 250)).save(path, kind, **({"save_all": True} if kind == "MPO" else {}))
    image = open_picture(path)
    assert (image.mode, image.size) == ("RGB", (16, 8))
    assert min(image.getpixel((8, 4))) > 245


def test_a_picture_above_pillows_own_limit_is_read(tmp_path):
    """200 megapixels, as large cameras make them."""
    path = tmp_path / "x.png"
    Image.new("L", (20_000, 10_000), 255).save(path, compress_level=1)
    image = open_picture(path)
    assert (image.mode, image.size, image.getpixel((0, 0))) == ("RGB", (20_000, 10_000), (255,) * 3)


def claiming(path, width, height):
    """A PNG that claims a size."""
    path.write_bytes(saved(path, GREY).read_bytes())
    content = bytearray(path.read_bytes())
    content[16:24] = width.to_bytes(4, "big") + height.to_bytes(4, "big")
    content[29:33] = zlib.crc32(content[12:29]).to_bytes(4, "big")
    path.write_bytes(content)
    return path


@pytest.mark.parametrize(
    ("size", "reason"),
    [((20_000, 20_000), "400,000,000 pixels, at most 268,435,456"), ((16_000, 16_000), "claims 256,000,000 pixels in")],
)
@pytest.mark.filterwarnings("ignore:Image size")  # Pillow's own word
def test_bombs_are_refused_before_memory_is_taken(size, reason, tmp_path, monkeypatch):
    monkeypatch.setattr(pictures, "_in_rgb", None)
    path = claiming(tmp_path / "x.png", *size)
    with pytest.raises(ValueError, match=rf"{path} cannot be read as an image .*{reason}"):
        open_picture(path)
