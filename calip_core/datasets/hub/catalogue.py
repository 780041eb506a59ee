"""CLIP_benchmark's datasets on the Hub by the names that it gives them, such as ``wds/vtab/caltech101``.

The list is ``benchmark/webdatasets.txt`` of LAION-AI/CLIP_benchmark at commit c475e1c, and ``wds/voc2007_multilabel``,
which its HISTORY.md names. Their repositories are ``clip-benchmark/wds_NAME`` with ``-`` for ``/``, as its README says.
"""

import re

from calip_core.errors import did_you_mean

PREFIX, REPOSITORY = "wds/", "hub:"
"""How ``calip fetch`` tells these names, and owner and name of any other repository, from those of cards."""

_ONE_CLASS = """
    imagenet1k imagenetv2 imagenet_sketch imagenet-a imagenet-r imagenet-o objectnet fer2013 voc2007 sun397 cars
    fgvc_aircraft mnist stl10 gtsrb country211 renderedsst2
    vtab/caltech101 vtab/cifar10 vtab/cifar100 vtab/clevr_count_all vtab/clevr_closest_object_distance
    vtab/diabetic_retinopathy vtab/dmlab vtab/dsprites_label_orientation vtab/dsprites_label_x_position
    vtab/dsprites_label_y_position vtab/dtd vtab/eurosat vtab/kitti_closest_vehicle_distance vtab/flowers vtab/pets
    vtab/pcam vtab/resisc45 vtab/smallnorb_label_azimuth vtab/smallnorb_label_elevation vtab/svhn
"""
_OTHERS = {
    "mscoco_captions": "captions instead of classes",
    "flickr8k": "captions instead of classes",
    "flickr30k": "captions instead of classes",
    "voc2007_multilabel": "several labels per image",
}
CATALOGUE: dict[str, str | None] = {
    **{f"{PREFIX}{name}": None for name in _ONE_CLASS.split()},
    **{f"{PREFIX}{name}": what for name, what in _OTHERS.items()},
}
"""Name -> why it cannot be evaluated here; None if it can."""


def repository_of(name: str) -> str:
    """Owner and name of the repository of ``wds/NAME`` or ``hub:OWNER/NAME``.

    Raises:
        ValueError: the name is not in the catalogue, cannot be evaluated here, or is not that of a repository.
    """
    if name.startswith(REPOSITORY):
        repository = name.removeprefix(REPOSITORY)
        if not re.fullmatch(r"\w[\w.-]*/\w[\w.-]*", repository, re.ASCII):
            raise ValueError(f"{name!r} is no repository, expected {REPOSITORY}OWNER/NAME as the Hub writes it")
        return repository
    if name not in CATALOGUE:
        known = ", ".join(CATALOGUE)
        close = did_you_mean(name, CATALOGUE)
        raise ValueError(f"unknown dataset {name!r}{close}, expected one of {known}, or {REPOSITORY}OWNER/NAME")
    if CATALOGUE[name] is not None:
        raise ValueError(f"{name} has {CATALOGUE[name]}: only datasets of one class per image can be evaluated here")
    return f"clip-benchmark/wds_{name.removeprefix(PREFIX).replace('/', '-')}"


def name_of(repository: str) -> str:
    """``wds/NAME`` or ``hub:OWNER/NAME``, by which ``calip fetch`` brings a repository."""
    known = (name for name, what in CATALOGUE.items() if what is None and repository_of(name) == repository)
    return next(known, f"{REPOSITORY}{repository}")
