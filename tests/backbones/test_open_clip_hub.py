"""Tokenizers and text encoders of the kinds that live on the Hub, made here and read from a folder."""

import json

import pytest
import torch
from torch.nn.functional import normalize

from calip_core.backbones import load_backbone, network
from calip_core.backbones.clip_import import clip  # noqa: F401  (before open_clip)

pytestmark = pytest.mark.filterwarnings("ignore:.*names no weights")
open_clip = pytest.importorskip("open_clip", reason="the openclip extra is not installed")
transformers = pytest.importorskip("transformers", reason="the openclip extra is not installed")

from open_clip import factory  # noqa: E402
from tokenizers import Tokenizer, models, pre_tokenizers, processors  # noqa: E402

from tests.backbones.open_clips import load_pair, make_small  # noqa: E402

PROMPTS = ["a dog", "two cats on a red sofa"]
WORDS = ["<pad>", "<s>", "</s>", "<unk>", "a", "dog", "two", "cats", "on", "red", "sofa"]


@pytest.fixture(autouse=True)
def without_network(monkeypatch):
    monkeypatch.setattr(network, "_hub_answers", lambda: False)


def save_tokenizer(folder, start="<s>", pad="<pad>"):
    """A fast tokenizer with a mark at the end, and perhaps one at the start, as those of BERT, XLM-R and T5 have."""
    words = Tokenizer(models.WordLevel({word: number for number, word in enumerate(WORDS)}, unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    marks = [(mark, WORDS.index(mark)) for mark in (start, "</s>") if mark]
    words.post_processor = processors.TemplateProcessing(single=f"{start} $A </s>".strip(), special_tokens=marks)
    fast = transformers.PreTrainedTokenizerFast(
        tokenizer_object=words, unk_token="<unk>", pad_token=pad, eos_token="</s>", sep_token="</s>"
    )
    fast.save_pretrained(folder)
    return str(folder)


@pytest.mark.parametrize(
    ("name", "start", "pad"),
    [
        ("ViT-L-14-CLIPA", "<s>", "<pad>"),  # BERT's; its last mark is taken off again
        ("ViT-H-14-worldwide", "<s>", "<pad>"),
        ("ViT-B-16-SigLIP", "", "</s>"),  # SigLIP pads with the mark of the end
    ],
)
@torch.no_grad()
def test_texts_are_tokenised_by_open_clips_own_tokenizer(name, start, pad, monkeypatch, tmp_path):
    make_small(monkeypatch, [name])
    monkeypatch.setitem(
        factory._MODEL_CONFIGS[name]["text_cfg"], "hf_tokenizer_name", save_tokenizer(tmp_path, start, pad)
    )
    backbone, plain = load_pair(monkeypatch, name)
    numbers = open_clip.get_tokenizer(name)(PROMPTS)
    assert torch.equal(backbone.tokenize(PROMPTS), numbers)
    ours, theirs = backbone.encode_text(PROMPTS), normalize(plain.encode_text(numbers), dim=-1)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5)
    most = backbone.context_length - len([mark for mark in (start, "</s>") if mark])
    assert backbone.tokenize([" ".join(["dog"] * most)]).shape == (1, backbone.context_length)
    with pytest.raises(ValueError, match=f"has more tokens than the {backbone.context_length}, "):
        backbone.tokenize([" ".join(["dog"] * (most + 1))])


SIZES = {
    "roberta": {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32},
    "xlm-roberta": {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32},
    "mt5": {"d_model": 32, "d_kv": 16, "d_ff": 32, "num_layers": 1, "num_decoder_layers": 1, "num_heads": 2},
}
TOWERS = {"roberta": "roberta-ViT-B-32", "xlm-roberta": "xlm-roberta-base-ViT-B-32", "mt5": "mt5-base-ViT-B-32"}


@pytest.mark.parametrize("kind", SIZES)
@torch.no_grad()
def test_hugging_face_text_towers(kind, monkeypatch, tmp_path):
    make_small(monkeypatch, ["ViT-B-32"])
    config = open_clip.get_model_config(TOWERS[kind])
    config["vision_cfg"] = factory._MODEL_CONFIGS["ViT-B-32"]["vision_cfg"]
    config["embed_dim"] = 32
    save_tokenizer(tmp_path)
    sizes = SIZES[kind] | {"model_type": kind, "vocab_size": len(WORDS), "max_position_embeddings": 90}
    (tmp_path / "config.json").write_text(json.dumps(sizes | {"pad_token_id": 0}))
    config["text_cfg"] |= {"hf_model_name": str(tmp_path), "hf_tokenizer_name": str(tmp_path)}
    monkeypatch.setitem(factory._MODEL_CONFIGS, TOWERS[kind], config)
    backbone, plain = load_pair(monkeypatch, TOWERS[kind])
    assert type(plain.text).__name__ == "HFTextEncoder"
    theirs = normalize(plain.encode_text(open_clip.get_tokenizer(TOWERS[kind])(PROMPTS)), dim=-1)
    torch.testing.assert_close(backbone.encode_text(PROMPTS), theirs, rtol=0, atol=1e-5)
    assert backbone.context_length == 77


def test_a_missing_tokenizer_is_a_connection_error(monkeypatch, tmp_path):
    make_small(monkeypatch, ["ViT-B-16-SigLIP"])
    with pytest.raises(ConnectionError, match="SigLIP' .timm/ViT-B-16-SigLIP. are not in the cache"):
        load_backbone("open_clip:ViT-B-16-SigLIP", device="cpu", download_root=tmp_path)
