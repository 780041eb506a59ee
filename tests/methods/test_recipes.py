"""Fixed and published values: by which rule, from where, and for what there are none."""

import pytest

from calip_core.methods import METHODS, TrainingOptions, make_method
from calip_core.methods.training import FIXED_EPOCHS

UNPUBLISHED = {"linear_probe", "gda", "clap"}


def published(method, dataset="eurosat", shots=4, **more):
    return METHODS[method].published(dataset, shots, **more)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("shots", [1, 3, 16, 50])
def test_fixed_values_make_every_head_by_the_shots_alone(method, shots):
    recipe = METHODS[method].fixed(shots)
    made = make_method(method, **recipe.options)
    if method in ("coop", "clip_adapter", "calip_fs", "inter_view_adapter"):
        assert made.options.training.epochs == FIXED_EPOCHS[{3: 2, 50: 16}.get(shots, shots)]
        assert f"{made.options.training.epochs} epochs at {shots} shots" in recipe.source
    else:
        assert recipe.options == {}
    if made.sees != "labels":
        assert METHODS[method].fixed(0) == recipe
    else:
        with pytest.raises(ValueError, match="shots is 0"):
            METHODS[method].fixed(0)


def test_a_head_that_may_choose_has_its_choice_left_open():
    assert METHODS["calip"].choosing(1).options == {"beta2": None, "beta3": None}
    for method in METHODS:
        if method != "calip":
            assert METHODS[method].choosing(2) == METHODS[method].fixed(2)


@pytest.mark.parametrize("method", ["coop", "clip_adapter"])
def test_coops_schedule_goes_by_shots_and_imagenet_has_its_own(method):
    epochs = [published(method, shots=shots).options["training"].epochs for shots in (1, 2, 4, 8, 16)]
    assert epochs == [50, 100, 100, 200, 200]
    assert published(method, "imagenet", 16).options["training"] == TrainingOptions.coop(epochs=50)
    with pytest.raises(ValueError, match=f"{method} has no published number of epochs for 3 shots, only for 1, 2, 4"):
        published(method, shots=3)


def test_tip_adapters_values_are_those_of_the_data_set():
    options = published("tip_adapter", "dtd").options
    assert options == {"alpha": 2.0, "beta": 1.0, "alpha_max": 13.0, "beta_max": 13.0}
    half = published("tip_adapter", "dtd", logit_scale=50.0).options
    assert (half["alpha"], half["beta"], half["alpha_max"]) == (1.0, 1.0, 6.5)
    trained = [published("tip_adapter_f", name).options["training"].epochs for name in ("dtd", "eurosat")]
    assert trained == [20, 100]
    assert "gaopengcuhk/Tip-Adapter" in published("tip_adapter_f", "dtd").source
    for method in ("tip_adapter", "tip_adapter_f"):
        with pytest.raises(ValueError, match="no published Tip-Adapter configuration for mini-pairs with mini-rn"):
            published(method, "mini-pairs", backbone="mini-rn")


def test_calip_fs_is_the_known_implementation_and_says_that_it_is_not_the_authors():
    recipe = published("calip_fs", "mini-pairs", 2)
    options = make_method("calip_fs", **recipe.options).options
    assert (options.beta2, options.beta3, options.training.epochs) == (0.08, 0.02, 200)
    assert options.config.hidden == (128, 128) and options.logit_scale == pytest.approx(1 / 0.07)
    assert "yuranusduke/CALIP, which is not the authors' code" in recipe.source


def test_calips_pair_is_the_papers():
    assert published("calip", "eurosat").options == {"beta2": 6.08, "beta3": 0.06}
    with pytest.raises(ValueError, match="no published blend weights for mini-pairs"):
        published("calip", "mini-pairs")


@pytest.mark.parametrize("method", METHODS)
def test_published_values_make_a_head_or_are_missed_by_name(method):
    if method in UNPUBLISHED:
        with pytest.raises(ValueError, match=f"{method} has no published values: .* the protocol 'validation'"):
            published(method)
    else:
        assert make_method(method, **published(method).options).name == method and published(method).source
