import hashlib
import io
import warnings

import pytest
import torch
from torch import nn

from calip_core.backbones.clip_import import clip
from calip_core.backbones.openai import download, load_clip
from tests.backbones.clips import FAMILIES, Archive, random_clip, random_images


@pytest.fixture(scope="module", params=FAMILIES)
def family(request):
    return request.param


@pytest.fixture(scope="module")
def files(family, tmp_path_factory):
    """The same CLIP as a TorchScript archive and as a state dict in half precision, and the package's own reading."""
    folder, model = tmp_path_factory.mktemp(family), random_clip(family).half().float()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.trace(Archive(model), random_images(family), check_trace=False), folder / "archive.pt")
        torch.save({name: value.half() for name, value in model.state_dict().items()}, folder / "weights.pt")
        expected, _ = clip.load(str(folder / "weights.pt"), device="cpu")
    return {"archive": folder / "archive.pt", "weights": folder / "weights.pt", "expected": expected}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    path = tmp_path_factory.mktemp("checkpoint") / "vit.pt"
    torch.save(random_clip("vit").state_dict(), path)
    return path


@pytest.mark.parametrize("kind", ["archive", "weights"])
def test_both_kinds_of_file_give_what_the_package_gives(files, kind):
    ours = load_clip(files[kind]).state_dict()
    theirs = files["expected"].state_dict()
    assert ours.keys() == theirs.keys()
    for name, value in ours.items():
        assert value.dtype == theirs[name].dtype
        torch.testing.assert_close(value, theirs[name], rtol=0, atol=0)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no checkpoint at .*nowhere\.pt"):
        load_clip(tmp_path / "nowhere.pt")


def test_a_truncated_file_is_named(checkpoint, tmp_path):
    path = tmp_path / "half.pt"
    path.write_bytes(checkpoint.read_bytes()[: checkpoint.stat().st_size // 2])
    with pytest.raises(ValueError, match=r"half\.pt cannot be read as a file that torch wrote .*damaged"):
        load_clip(path)


def test_one_damaged_byte_is_found(checkpoint, tmp_path):
    path, content = tmp_path / "damaged.pt", bytearray(checkpoint.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"damaged\.pt cannot be read .*Bad CRC-32 for file .*/data/"):
        load_clip(path)


@pytest.mark.parametrize("content", [b"", b"<html>not found</html>"], ids=["empty", "web page"])
def test_a_file_of_another_kind_is_named(tmp_path, content):
    (tmp_path / "page.pt").write_bytes(content)
    with pytest.raises(ValueError, match=r"page\.pt cannot be read as a file that torch wrote"):
        load_clip(tmp_path / "page.pt")


def test_missing_weights_are_named(tmp_path, checkpoint):
    weights = torch.load(checkpoint, weights_only=True)
    del weights["text_projection"], weights["logit_scale"]
    torch.save(weights, tmp_path / "partial.pt")
    with pytest.raises(ValueError, match="not a CLIP in OpenAI's layout: text_projection, logit_scale missing"):
        load_clip(tmp_path / "partial.pt")


def test_another_network_is_no_clip(tmp_path):
    torch.save(nn.Linear(2, 2).state_dict(), tmp_path / "linear.pt")
    with pytest.raises(ValueError, match="not a CLIP"):
        load_clip(tmp_path / "linear.pt")
    torch.save([torch.zeros(2)], tmp_path / "list.pt")
    with pytest.raises(ValueError, match="holds a list"):
        load_clip(tmp_path / "list.pt")


def test_wrong_shapes_and_vocabularies_are_named(tmp_path, checkpoint):
    weights = torch.load(checkpoint, weights_only=True)
    torch.save({**weights, "ln_final.bias": torch.zeros(3)}, tmp_path / "shape.pt")
    with pytest.raises(ValueError, match=r"shape\.pt cannot be read as .*size mismatch for ln_final.bias"):
        load_clip(tmp_path / "shape.pt")
    torch.save({**weights, "token_embedding.weight": torch.zeros(100, 64)}, tmp_path / "words.pt")
    with pytest.raises(ValueError, match="vocabulary of 100 entries"):
        load_clip(tmp_path / "words.pt")


@pytest.fixture
def published(monkeypatch, tmp_path, checkpoint):
    """OpenAI's list holds one more model, "RN-test", on a server that is a folder."""

    def publish(content=None, sha256=None):
        data = checkpoint.read_bytes() if content is None else content
        folder = tmp_path / "server" / (sha256 or hashlib.sha256(data).hexdigest())
        folder.mkdir(parents=True)
        (folder / "RN-test.pt").write_bytes(data)
        monkeypatch.setitem(clip.clip._MODELS, "RN-test", (folder / "RN-test.pt").as_uri())
        return folder / "RN-test.pt"

    return publish


def test_download_by_name_verifies_and_keeps_the_file(published, tmp_path):
    source = published()
    path = download("RN-test", tmp_path / "cache")
    assert path == tmp_path / "cache" / "RN-test.pt"
    assert path.read_bytes() == source.read_bytes()
    source.unlink()
    assert download("RN-test", tmp_path / "cache") == path  # no second download


def test_a_download_with_another_checksum_is_refused(published, tmp_path):
    published(b"something else", sha256="0" * 64)
    with pytest.raises(ValueError, match=r"RN-test\.pt is not the checkpoint .*SHA-256 differs"):
        download("RN-test", tmp_path / "cache")


def test_a_damaged_file_is_fetched_again(published, tmp_path):
    source = published()
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "RN-test.pt").write_bytes(b"damaged")
    with pytest.warns(UserWarning, match="checksum does not match"):
        path = download("RN-test", tmp_path / "cache")
    assert path.read_bytes() == source.read_bytes()


@pytest.mark.parametrize("found", [False, True])
def test_without_a_network_the_message_says_where_the_file_belongs(published, tmp_path, found):
    published().unlink()
    (tmp_path / "cache").mkdir()
    if found:
        (tmp_path / "cache" / "RN-test.pt").write_bytes(b"damaged")
    state = "the file there has another SHA-256" if found else "no file is there yet"
    with warnings.catch_warnings(), pytest.raises(ConnectionError, match=rf"cannot fetch RN-test .*{state}.*mini-rn"):
        warnings.simplefilter("ignore")
        download("RN-test", tmp_path / "cache")


def test_an_unwritable_folder_is_named(published, tmp_path):
    published()
    (tmp_path / "obstacle").write_text("in the way")
    with pytest.raises(OSError, match=r"cannot write into this folder .*obstacle/cache") as caught:
        download("RN-test", tmp_path / "obstacle" / "cache")
    assert not isinstance(caught.value, ConnectionError)


def test_a_full_disk_is_not_a_missing_network(published, tmp_path, monkeypatch):
    published()

    def full(url, root):
        raise OSError(28, "No space left on device", root)

    monkeypatch.setattr(clip.clip, "_download", full)
    with pytest.raises(OSError, match="No space left on device") as caught:
        download("RN-test", tmp_path / "cache")
    assert not isinstance(caught.value, ConnectionError)


def test_the_old_format_of_torch_is_read(checkpoint, tmp_path):
    buffer = io.BytesIO()
    torch.save(torch.load(checkpoint, weights_only=True), buffer, _use_new_zipfile_serialization=False)
    (tmp_path / "old.pt").write_bytes(buffer.getvalue())
    assert load_clip(tmp_path / "old.pt").visual.input_resolution == 48
