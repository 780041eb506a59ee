"""What heads are made with where nobody says otherwise: one fixed rule for all data sets, or what was published."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from calip_core.blend.selection import published as published_betas
from calip_core.methods.calip_fs import CalipFs
from calip_core.methods.clip_adapter import PUBLISHED_RATIO
from calip_core.methods.inter_view_adapter import PUBLISHED_RATIO as POINTCLIP_RATIO
from calip_core.methods.tip_adapter import published_tip
from calip_core.methods.training import COOP_EPOCHS, IMAGENET_EPOCHS, TrainingOptions
from calip_core.methods.validation import PUBLISHED_SCALE

FIXED_EPOCHS = {1: 50, 2: 50, 4: 30, 8: 30, 16: 20}
"""Epochs of CoOp, CLIP-Adapter, CALIP-FS and the inter-view adapter by shots, for every data set: far fewer than
published, so that a laptop can train them all. Tip-Adapter-F keeps its published 20. A number of shots that is not
listed has the epochs of the next smaller one that is."""

_SGD_HEADS = ("coop", "clip_adapter", "calip_fs")
_TIP_EPOCHS, _EUROSAT_EPOCHS = 20, 100  # of Tip-Adapter-F
_FS_EPOCHS = 200  # of the known CALIP-FS, at any number of shots

# Why a head has no published values, and what its published code does instead.
_NO_VALUES = {
    "linear_probe": "CoOp's code searches its C on validation images",
    "gda": "its code searches alpha on validation images",
    "clap": "its code makes 300 epochs of SGD where this head goes to the minimum",
}


@dataclass(frozen=True)
class Recipe:
    """Options of a head, and in words where they come from."""

    options: dict[str, Any]
    source: str


def fixed_recipe(method: str, shots: int) -> Recipe:
    """The options of every data set: a head's own defaults, and epochs by the number of shots alone.

    Args:
        method: one of ``METHODS``.
        shots: images a class; of a support set with fewer in some classes, the most.

    Raises:
        ValueError: ``shots`` is below 1.
    """
    if shots < 1:
        raise ValueError(f"shots is {shots}, expected at least one image a class")
    epochs = FIXED_EPOCHS[max(listed for listed in FIXED_EPOCHS if listed <= shots)]
    if method in _SGD_HEADS:
        training = TrainingOptions.coop(epochs=epochs)
    elif method == "inter_view_adapter":
        training = TrainingOptions.pointclip(epochs)
    else:
        return Recipe({}, "this library's defaults")
    return Recipe({"training": training}, f"this library's defaults, {epochs} epochs at {shots} shots")


def choosing_recipe(method: str, shots: int) -> Recipe:
    """The fixed recipe of a head that may choose on labelled images: whatever it can choose is left open.

    Args:
        method: one of ``METHODS``.
        shots: as for ``fixed_recipe``.
    """
    fixed = fixed_recipe(method, shots)
    open_weights = {"beta2": None, "beta3": None} if method == "calip" else {}
    return Recipe({**fixed.options, **open_weights}, fixed.source)


def published_recipe(
    method: str, *, dataset: str, shots: int, backbone: str = "RN50", logit_scale: float = PUBLISHED_SCALE
) -> Recipe:
    """The options that a head was published with for a data set and a number of shots.

    Nothing is searched: Tip-Adapter's alpha and beta are those that its configuration starts from (``published_tip``),
    alpha in proportion to the logit scale. CoOp states its schedule for any data set; so does CALIP-FS's one known
    implementation, which is not its authors' (yuranusduke/CALIP).

    Args:
        method: one of ``METHODS``.
        dataset: name of the task.
        shots: images a class.
        backbone: whose features the values are for.
        logit_scale: of the head.

    Raises:
        ValueError: the method, the data set or the number of shots has no published values.
    """
    if method in _NO_VALUES:
        raise ValueError(
            f"{method} has no published values: {_NO_VALUES[method]}. Choose hyperparameters='validation' or 'fixed'"
        )
    known = _PUBLISHED.get(method)
    if known is None:
        return Recipe({}, "nothing to choose")
    return known(_Asked(dataset, shots, backbone, logit_scale / PUBLISHED_SCALE))


def published_training(method: str, dataset: str, shots: int) -> TrainingOptions | None:
    """How a head was trained for a data set where it was published; None where it is not trained, or nobody knows."""
    if method == "tip_adapter_f":
        return TrainingOptions.tip_adapter_f(_EUROSAT_EPOCHS if dataset == "eurosat" else _TIP_EPOCHS)
    if method == "inter_view_adapter":
        return TrainingOptions.pointclip()
    if method not in _SGD_HEADS:
        return None
    by_shots = IMAGENET_EPOCHS if dataset == "imagenet" else COOP_EPOCHS.get(shots)
    epochs = _FS_EPOCHS if method == "calip_fs" else by_shots
    return None if epochs is None else TrainingOptions.coop(epochs=epochs)


@dataclass(frozen=True)
class _Asked:
    dataset: str
    shots: int
    backbone: str
    scale: float

    def training(self, method: str) -> TrainingOptions:
        known = published_training(method, self.dataset, self.shots)
        if known is None:
            listed = ", ".join(map(str, COOP_EPOCHS))
            raise ValueError(f"{method} has no published number of epochs for {self.shots} shots, only for {listed}")
        return known


def _coop(asked: _Asked) -> Recipe:
    training = asked.training("coop")
    return Recipe({"training": training}, f"CoOp's schedule: {training.epochs} epochs at {asked.shots} shots")


def _clip_adapter(asked: _Asked) -> Recipe:
    training = asked.training("clip_adapter")
    options = {"ratio": PUBLISHED_RATIO, "training": training}
    return Recipe(options, f"CLIP-Adapter's code, with CoOp's schedule: {training.epochs} epochs")


def _tip_adapter(asked: _Asked) -> Recipe:
    known = published_tip(asked.dataset, asked.backbone)
    options = {
        "alpha": known.alpha * asked.scale, "beta": known.beta,
        "alpha_max": known.alpha_max * asked.scale, "beta_max": known.beta_max,
    }  # fmt: skip
    return Recipe(options, known.source)


def _tip_adapter_f(asked: _Asked) -> Recipe:
    recipe = _tip_adapter(asked)
    return Recipe({**recipe.options, "training": asked.training("tip_adapter_f")}, recipe.source)


def _calip(asked: _Asked) -> Recipe:
    known = published_betas(asked.dataset, asked.backbone)
    return Recipe({"beta2": known.beta2, "beta3": known.beta3}, known.chosen_by)


def _calip_fs(asked: _Asked) -> Recipe:
    head = CalipFs.yuranusduke()
    own = {name: value for name, value in head.options().items() if name not in ("seed", "progress")}
    return Recipe(own, "yuranusduke/CALIP, which is not the authors' code")


def _inter_view_adapter(asked: _Asked) -> Recipe:
    options = {"ratio": POINTCLIP_RATIO, "training": asked.training("inter_view_adapter")}
    return Recipe(options, "PointCLIP's code, without its normalisation layers and dropout")


_PUBLISHED: dict[str, Callable[[_Asked], Recipe]] = {
    "calip": _calip, "coop": _coop, "clip_adapter": _clip_adapter, "tip_adapter": _tip_adapter,
    "tip_adapter_f": _tip_adapter_f, "calip_fs": _calip_fs, "inter_view_adapter": _inter_view_adapter,
}  # fmt: skip
