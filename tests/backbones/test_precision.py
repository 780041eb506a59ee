import copy

import pytest
import torch
from torch import nn

from calip_core.backbones import precision
from calip_core.backbones.clip_import import clip
from calip_core.backbones.precision import choose_dtype, fold_batch_norms, has_fast_bfloat16, prepare
from tests.backbones.clips import FAMILIES, random_clip, random_images

CPU, GPU = torch.device("cpu"), torch.device("cuda")


@pytest.fixture
def processor(monkeypatch, tmp_path):
    """Pretend that Linux lists these features."""

    def pretend(features):
        (tmp_path / "cpuinfo").write_text(f"processor : 0\nflags : fpu {features} sse2\n")
        monkeypatch.setattr(precision, "_CPU_FEATURES", tmp_path / "cpuinfo")

    return pretend


@pytest.mark.parametrize("features", ["amx_bf16 amx_tile", "avx512_bf16 amx_bf16"])
def test_auto_takes_bfloat16_where_the_processor_has_matrix_units(processor, features):
    processor(features)
    assert choose_dtype("auto", CPU) == torch.bfloat16
    assert choose_dtype("fp32", CPU) == torch.float32  # on request


@pytest.mark.parametrize("features", ["avx2 avx512f", "avx512f avx512_bf16"])
def test_auto_keeps_float32_without_matrix_units(processor, features):
    processor(features)
    assert choose_dtype("auto", CPU) == torch.float32
    assert choose_dtype("bf16", CPU) == torch.bfloat16


def test_a_system_without_that_list_keeps_float32(monkeypatch, tmp_path):
    monkeypatch.setattr(precision, "_CPU_FEATURES", tmp_path / "none")
    assert not has_fast_bfloat16()


def test_auto_on_a_gpu_is_openais_choice(processor):
    processor("amx_bf16")
    assert choose_dtype("auto", GPU) == torch.float16
    assert choose_dtype("bf16", GPU) == torch.bfloat16


def test_an_unknown_precision_lists_the_choices(shapes_unchecked):
    with pytest.raises(ValueError, match="precision is 'fp8', expected one of .*'auto', 'fp32', 'bf16', 'fp16'"):
        choose_dtype("fp8", CPU)


def test_folded_batch_norms_change_results_by_rounding_only():
    model, images = random_clip("rn"), random_images("rn")
    folded = copy.deepcopy(model)
    fold_batch_norms(folded)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in folded.modules())
    with torch.no_grad():
        torch.testing.assert_close(folded.encode_image(images), model.encode_image(images), rtol=0, atol=1e-5)
        exact, folded_exact = model.double(), folded.double()
        difference = folded_exact.encode_image(images.double()) - exact.encode_image(images.double())
    assert difference.abs().max() < 1e-5  # nothing but the rounding of the folded weights


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_weights_take_the_format_and_norms_stay_float32(family, dtype):
    model = prepare(random_clip(family).train(), CPU, dtype)
    assert not model.training
    norms = {id(p) for m in model.modules() if isinstance(m, clip.model.LayerNorm) for p in m.parameters()}
    for name, parameter in model.named_parameters():
        assert parameter.dtype == (torch.float32 if id(parameter) in norms else dtype), name
        assert not parameter.requires_grad, name
    assert model.visual.conv1.weight.is_contiguous(memory_format=torch.channels_last)
