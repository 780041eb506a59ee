"""A wrong parameter stops a chapter at once, and the message says what would be right."""

import pytest

from calip_core.teaching import (
    AtLeast,
    BackboneName,
    Choice,
    CloudTaskName,
    Count,
    Minutes,
    ParameterError,
    Positive,
    ProjectionName,
    Seed,
    Share,
    TaskName,
    check_parameters,
)


@pytest.fixture(autouse=True)
def backbones(monkeypatch):
    names = ("mini-rn", "mini-vit", "RN50")
    monkeypatch.setattr("calip_core.backbones.available_backbones", lambda: names, raising=False)


def complaint(namespace, **declared):
    with pytest.raises(ParameterError) as caught:
        check_parameters(namespace, **declared)
    return str(caught.value)


def test_accepts_a_chapters_own_defaults_among_what_a_kernel_defines():
    namespace = {
        "__name__": "__main__", "_": "", "In": ["x"], "Out": {}, "exit": "exit", "quit": "quit", "pytest": pytest,
        "backbone": "mini-rn", "dataset": "mini-shapes", "seed": 0, "samples": 1, "minutes": 2,
    }  # fmt: skip
    check_parameters(namespace, backbone=BackboneName, dataset=TaskName, seed=Seed, samples=Count, minutes=Minutes)


def test_accepts_words_that_say_two_things():
    namespace = {"views": "pointclip, 512 points", "protocol": "fixed, paper", "alone": "fixed"}
    protocol = Choice("fixed", "oracle", then=["paper"])
    check_parameters(namespace, views=ProjectionName, protocol=protocol, alone=protocol)


@pytest.mark.parametrize(
    ("kind", "value", "said"),
    [
        (BackboneName, "mini-rm", ["'mini-rm'", "Did you mean 'mini-rn'?", "mini-vit", "RN50"]),
        (BackboneName, "weights/absent.pt", ["absent.pt", "checkpoint"]),
        (BackboneName, "open_clip:ViT-B-32:openai", ["open_clip:MODEL/TAG"]),
        (BackboneName, "open_clip:", ["open_clip:MODEL/TAG"]),
        (BackboneName, "open_clip:RN50", ["names no weights", "random", "open_clip:RN50/TAG"]),
        (BackboneName, 3, ["= 3", "string", "mini-rn, mini-vit, RN50"]),
        (TaskName, "digit", ["Did you mean 'digits'?", "mini-pairs", "folder:PATH"]),
        (TaskName, "folder:/absent/place", ["/absent/place", "does not exist"]),
        (TaskName, "wds:/absent/place", ["/absent/place", "does not exist", "Give wds:PATH"]),
        (TaskName, None, ["None", "string", "mini-pairs"]),
        (Seed, -1, ["-1", "greater than or equal to 0"]),
        (Seed, 1.5, ["1.5", "integer"]),
        (Seed, "1", ["'1'", "integer"]),
        (Count, 0, ["greater than or equal to 1"]),
        (AtLeast(20), 19, ["19", "greater than or equal to 20"]),
        (AtLeast(20), 20.0, ["20.0", "integer"]),
        (Count, True, ["True", "integer"]),
        (Minutes, 0.0, ["greater than 0"]),
        (Minutes, 121.0, ["less than or equal to 120"]),
        (Minutes, float("nan"), ["nan"]),
        (Positive, float("inf"), ["finite"]),
        (Share, 5.0, ["less than 1"]),
        (Share, 0.0, ["greater than 0"]),
        (Choice("rn", "vit"), "vlt", ["'vlt'", "Did you mean 'vit'?", "rn, vit"]),
        (Choice("rn", "vit"), "rn, paper", ["'rn, paper'", "rn, vit"]),
        (Choice("rn", then=["paper"]), "rn, papre", ["'rn, papre'", "a comma and one of paper"]),
        (Choice("rn", then=["paper"]), "paper", ["'paper'", "Choose one of rn, optionally"]),
        (ProjectionName, "pointclop", ["Did you mean 'pointclip'?", "bright_voxels", "'pointclip, 512 points'"]),
        (ProjectionName, "pointclip, 1 points", ["points is 1", "'pointclip, 512 points'"]),
        (ProjectionName, "pointclip 512", ["'pointclip 512'", "'pointclip, 512 points'"]),
        (ProjectionName, 512, ["512", "string", "bright_voxels"]),
    ],
)
def test_a_wrong_value_is_named_with_what_was_expected(kind, value, said):
    message = complaint({"it": value}, it=kind)
    assert message.startswith("The chapter's parameters cannot be used:\n- it = ")
    for words in said:
        assert words in message


def test_a_file_and_a_folder_of_ones_own_and_open_clip_are_accepted(tmp_path):
    checkpoint = tmp_path / "own.pt"
    checkpoint.touch()
    for name in [str(checkpoint), "open_clip:ViT-B-32/openai"]:
        check_parameters({"backbone": name}, backbone=BackboneName)
    for prefix in ("folder:", "wds:", "parquet:"):
        check_parameters({"dataset": f"{prefix}{tmp_path}"}, dataset=TaskName)


@pytest.mark.parametrize("value", ["mini-vit", 3, 2.5, True, None, [1]])
def test_a_misspelt_name_is_an_error_and_not_ignored(value):
    message = complaint({"seed": 0, "sede": value}, seed=Seed)
    assert "sede is not a parameter of this chapter. Did you mean 'seed'? Its parameters: seed." in message


def test_everything_wrong_is_said_at_once():
    message = complaint({"seed": -1, "sample": 5}, seed=Seed, samples=Count)
    assert "seed = -1" in message and "samples is missing" in message and "'samples'" in message


def test_a_second_check_in_one_kernel_leaves_the_chapters_own_variables_alone():
    namespace = {"seed": 0}
    check_parameters(namespace, seed=Seed)
    namespace |= {"alpha": 0.5, "name": "sharp"}
    check_parameters(namespace, seed=Seed)
    namespace["seed"] = -1
    assert "seed = -1" in complaint(namespace, seed=Seed)


def test_other_names_of_a_dataset_are_accepted():
    check_parameters({"dataset": "flowers102"}, dataset=TaskName)
    check_parameters({"dataset": "ModelNet40"}, dataset=CloudTaskName)
    check_parameters({"dataset": "ImageNet@80"}, dataset=TaskName)
    with pytest.raises(ParameterError, match="template_set is '81', but imagenet has 1, 7, 80"):
        check_parameters({"dataset": "imagenet@81"}, dataset=TaskName)


def test_images_and_clouds_are_sent_to_their_chapters(tmp_path):
    check_parameters({"dataset": "mini-solids"}, dataset=CloudTaskName)
    check_parameters({"dataset": f"points:{tmp_path}"}, dataset=CloudTaskName)
    with pytest.raises(ParameterError, match="is a dataset of point clouds, for chapter 7"):
        check_parameters({"dataset": "mini-solids"}, dataset=TaskName)
    with pytest.raises(ParameterError, match="is a dataset of images, for the other.*one of mini-solids"):
        check_parameters({"dataset": "eurosat"}, dataset=CloudTaskName)
