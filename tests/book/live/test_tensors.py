"""The engine's small pieces in the browser against PyTorch in double precision."""

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from calip_core.analysis.pool import spoil_pool
from calip_core.attention import parameter_free_attention
from calip_core.tokens import CalipLogits, ImageTokens

Module = Callable[[str], Callable[..., Any]]
CLOSE = 1e-5  # of values around 1


def numbers(*shape: int) -> Tensor:
    """Normally distributed, exact in single precision, the same for a shape."""
    generator = torch.Generator().manual_seed(sum(shape))
    return torch.randn(*shape, generator=generator).double()


def unit_rows(*shape: int) -> Tensor:
    return F.normalize(numbers(*shape), dim=-1)


def written(*arguments: Any) -> str:
    """Arguments in JavaScript; a tensor's numbers are a Float32Array, row after row."""
    forms = (
        f"new Float32Array({a.flatten().tolist()})" if isinstance(a, Tensor) else json.dumps(a) for a in arguments
    )
    return f"[{', '.join(forms)}]"


def written_map(values: Tensor) -> str:
    """A map of "channels height width" as the engine has it: places × channels."""
    places = values.permute(1, 2, 0)
    return f"{{values: {written(places)[1:-1]}, height: {values.shape[1]}, width: {values.shape[2]}}}"


def read_map(found: dict[str, Any]) -> Tensor:
    return torch.tensor(found["values"]).double().view(found["height"], found["width"], -1).permute(2, 0, 1)


def check(found: Any, wanted: Tensor) -> None:
    torch.testing.assert_close(torch.tensor(found).double().view(wanted.shape), wanted, rtol=CLOSE, atol=CLOSE)


def test_every_number_in_half_precision(module: Module) -> None:
    bits = np.arange(65536, dtype=np.uint16)
    run = module("engine/half.js")
    found = np.array(run("decodeTensors", js="""(() => {
      const bytes = new Uint8Array(Uint16Array.from({ length: 65536 }, (_, i) => i).buffer);
      const text = btoa(String.fromCharCode(...bytes.subarray(0, 65536))) ;
      const rest = btoa(String.fromCharCode(...bytes.subarray(65536)));
      return [[text, rest], { bytes: 131072, tensors: { all: { shape: [256, 256], offset: 0 } } }];
    })()""")["all"], np.float32)  # fmt: skip
    np.testing.assert_array_equal(found, bits.view(np.float16).astype(np.float32))


def test_weights_that_are_cut_short_are_refused(module: Module) -> None:
    with pytest.raises(Exception, match="the weights hold 3 numbers, expected 4"):
        module("engine/half.js")("decodeTensors", ["AAAAAAAA"], {"bytes": 8, "tensors": {}})


@pytest.mark.parametrize(("rows", "inputs", "outputs"), [(1, 1, 1), (3, 5, 4), (2, 7, 6), (5, 8, 11)])
def test_linear(module: Module, rows: int, inputs: int, outputs: int) -> None:
    x, weight, bias = numbers(rows, inputs), numbers(outputs, inputs), numbers(outputs)
    check(module("engine/tensors.js")("linear", js=written(x, weight, bias)), F.linear(x, weight, bias))


@pytest.mark.parametrize(("kernel", "stride", "padding"), [(3, 1, 1), (3, 2, 1), (4, 4, 0), (1, 1, 0), (2, 3, 0)])
def test_a_convolution_is_a_product_with_the_patches(module: Module, kernel: int, stride: int, padding: int) -> None:
    x, weight, bias = numbers(3, 9, 8), numbers(5, 3, kernel, kernel), numbers(5)
    run = module("engine/tensors.js")
    form = json.dumps({"kernel": kernel, "stride": stride, "padding": padding})
    cut = run("patches", js=f"[{written_map(x)}, {form}]")
    wanted = F.conv2d(x[None], weight, bias, stride, padding)[0]
    found = run("linear", js=written(torch.tensor(cut["values"]), weight, bias))
    assert (cut["height"], cut["width"]) == tuple(wanted.shape[1:])
    check(found, wanted.permute(1, 2, 0))


def test_average_pool(module: Module) -> None:
    x = numbers(3, 6, 4)
    found = read_map(module("engine/tensors.js")("averagePool", js=f"[{written_map(x)}]"))
    check(found.tolist(), F.avg_pool2d(x[None], 2)[0])


def test_layer_norm_means_and_rows(module: Module) -> None:
    x, weight, bias = numbers(4, 6), numbers(6), numbers(1, 6)
    run = module("engine/tensors.js")
    check(run("layerNorm", js=written(x, weight, bias)), F.layer_norm(x, (6,), weight, bias[0]))
    check(run("meanOfRows", js=written(x, 6)), x.mean(dim=0))
    check(run("rowsOf", js=written(x, 6)), x)
    check(run("transpose", js=written(x, 6)), x.T)


def test_functions_of_each_number(module: Module) -> None:
    x, y = 5 * numbers(40), numbers(1, 40)
    run = module("engine/tensors.js")
    check(run("quickGelu", js=written(x)), x * torch.sigmoid(1.702 * x))
    check(run("relu", js=written(x)), x.relu())
    check(run("add", js=written(x, y)), x + y[0])
    check(run("softmax", js=written(100 * x)), (100 * x).softmax(dim=0))
    check(run("unit", js=written(x)), F.normalize(x, dim=0))
    check(run("unit", js=written(0 * x)), 0 * x)


@pytest.mark.parametrize("causal", [False, True])
def test_attention(module: Module, causal: bool) -> None:
    projected = numbers(7, 3 * 8)
    query, key, value = (part.unflatten(1, (2, 4)).transpose(0, 1) for part in projected.chunk(3, dim=1))
    wanted = F.scaled_dot_product_attention(query, key, value, is_causal=causal).transpose(0, 1).flatten(1)
    form = {"width": 8, "heads": 2, "causal": causal}
    check(module("engine/transformer.js")("attend", js=written(projected, form)), wanted)


def test_both_attentions_of_calip_step_by_step(module: Module) -> None:
    spatial, text, alphas = unit_rows(6, 16), unit_rows(5, 16), (0.05, 0.2)
    run = module("engine/calip.js")
    similarities = run("affinity", spatial.tolist(), text.tolist())
    check(similarities, spatial @ text.T)
    over_places = run("softmaxOverPlaces", js=f"[{rows(similarities)}, {alphas[0]}]")
    over_classes = run("softmaxOverClasses", js=f"[{rows(similarities)}, {alphas[1]}]")
    check(torch.tensor(over_places).sum(dim=0).tolist(), torch.ones(5).double())
    text_attended, visual_attended = parameter_free_attention(spatial[None], text, alpha_t=alphas[0], alpha_s=alphas[1])
    check(run("attendToImage", over_places, spatial.tolist()), text_attended[0])
    check(run("attendToText", over_classes, text.tolist()), visual_attended[0])


def rows(matrix: list[list[float]]) -> str:
    return f"[{', '.join(f'new Float32Array({row})' for row in matrix)}]"


def test_the_blend_its_winner_and_its_probabilities(module: Module) -> None:
    terms = numbers(3, 4)
    run = module("engine/calip.js")
    given = dict(zip(("clip", "textAttended", "visualAttended"), terms.tolist(), strict=True))
    blend = CalipLogits(*terms[:, None]).combine(beta2=0.7, beta3=-2.0)[0]
    check(run("combine", given, 0.7, -2.0), blend)
    assert run("argmax", blend.tolist()) == blend.argmax()
    assert run("argmax", [1, 3, 3]) == 1
    check(run("probabilities", blend.tolist()), blend.softmax(dim=0))


@pytest.mark.parametrize("amount", [0, 0.3, 1])
def test_a_spoiled_pool(module: Module, amount: float) -> None:
    pooled, spatial, values = unit_rows(1, 8), unit_rows(1, 6, 8), unit_rows(1, 3, 2, 8).flatten(1, 2)
    wanted = spoil_pool(ImageTokens(pooled, spatial, (2, 3)), values, amount)
    image = {"pooled": pooled[0].tolist(), "spatial": spatial[0].tolist(), "grid": [2, 3]}
    js = (
        f"[{{...{json.dumps(image)}, pooled: {written(pooled)[1:-1]}}}, "
        f"{json.dumps({'spatial': values[0].tolist()})}, {amount}]"
    )
    found = module("engine/calip.js")("spoilPool", js=js)
    check(found["pooled"], wanted.pooled[0])
    assert (found["spatial"], found["grid"]) == (image["spatial"], image["grid"])


def test_a_pool_cannot_be_spoiled_by_more_than_all(module: Module) -> None:
    run = module("engine/calip.js")
    with pytest.raises(Exception, match="amount is 1.5, expected a share from 0 to 1"):
        run("spoilPool", {"pooled": [1.0]}, {"spatial": [[1.0]]}, 1.5)
    with pytest.raises(Exception, match="amount is 0.5: no direction is left"):
        run("spoilPool", {"pooled": [1.0]}, {"spatial": [[-1.0]]}, 0.5)
