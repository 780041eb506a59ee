"""The base class of all classifier heads."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, ClassVar, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from calip_core.blend.protocols import Protocol
from calip_core.methods.inputs import PUBLISHED_SCALE, Labels, Validation, check_finite, check_width
from calip_core.methods.training import TrainingOptions, TrainingReport
from calip_core.tokens import ImageTokens, TokenStream

Sees = Literal["nothing", "views", "unlabelled", "stream", "batch", "labels"]
Fuse = Callable[[Float[Tensor, "n k"]], Float[Tensor, "t k"]]
"""Logits, one row per view -> one row per item; linear."""

NOTHING = "nothing to choose"
"""``chosen_by`` of heads without hyperparameters."""
NOT_FITTED = "not fitted yet"


def identity(rows: Float[Tensor, "n k"]) -> Float[Tensor, "n k"]:
    """Return the rows unchanged (one view per item)."""
    return rows


@dataclass(frozen=True)
class Recipe:
    """Options of a head, and a description of their source."""

    options: dict[str, Any]
    source: str


class Head(nn.Module):
    """A classifier head on top of frozen CLIP features.

    ``fit`` takes a support set and, if hyperparameters are chosen, a *validation* set: no head ever sees test labels.
    Learned tensors are parameters and other fitted tensors are buffers, so ``state_dict`` is the whole fitted state:
    with ``options`` it makes the same head again. A head computes on the device and in the precision of its images,
    but at least in float32.

    A new head names its tensors in ``shapes`` (those that learn also in ``learned``, chosen numbers in ``numbers``),
    and defines ``fit`` and ``logits``.

    Attributes:
        name: the name that ``make_method`` takes.
        sees: what data it uses besides the image being classified: "nothing"; "views", random crops of the image, as
            many as its option ``crops``, in the rows after it; "unlabelled" images, in ``fit``; the "stream" of test
            images before it; a "batch" of test images; or "labels", a support set. An option can change it for an
            instance; its class says what holds by default.
        reads_spatial: whether it reads spatial tokens.
        label_free: whether it can choose hyperparameters without labels, with ``adapt``.
        published_protocol: how its published measurements choose its hyperparameters.
        needs: keyword arguments of the constructor besides the options.
        nested: options that are objects, each with the callable that builds it from its fields as read from JSON.
        numbers: names of the hyperparameters that are given or chosen, which the state holds in float64.
        options: an instance of ``Options``.
        chosen_by: what was chosen and on what, in words; ``NOTHING`` if there is nothing to choose.
        features_of: name of the backbone whose features it was fitted on, if known. Bare tensors do not carry it, and
            two backbones may have the same width.
        fuse: combines the logits of all views of an item into one row; set it before ``fit`` if items have several
            views.
        report: summary of the training run; None before training, for a loaded head, and for one that is not trained.
    """

    name: ClassVar[str]
    sees: Sees = "labels"
    reads_spatial: ClassVar[bool] = False
    label_free: ClassVar[bool] = False
    published_protocol: ClassVar[Protocol] = "published"
    needs: ClassVar[tuple[str, ...]] = ()
    numbers: ClassVar[tuple[str, ...]] = ()
    nested: ClassVar[Mapping[str, Callable[..., Any]]] = {}

    @dataclass(frozen=True, kw_only=True)
    class Options:
        """Options common to all heads: none."""

    options: Any

    def __init__(self, **options: Any) -> None:
        """Make an unfitted head from the fields of ``Options``; give ``nested`` ones as objects or as mappings.

        Raises:
            TypeError: an option that this head does not have.
            ValueError: an option is out of range.
        """
        super().__init__()
        known = [field.name for field in fields(self.Options)]
        if unknown := sorted(options.keys() - set(known)):
            raise TypeError(f"{self.name} has no option {', '.join(unknown)}; it has: {', '.join(known) or 'none'}")
        self.options = self.Options(**{name: self._built(name, value) for name, value in options.items()})
        self.chosen_by = NOT_FITTED if self.numbers else NOTHING
        self.features_of: str | None = None
        self.fuse: Fuse = identity
        self.report: TrainingReport | None = None
        for name in self.shapes():
            if name in self.learned():
                self.register_parameter(name, None)
            else:
                self.register_buffer(name, None)

    def fit(
        self,
        tokens: ImageTokens | None,
        labels: Labels | None,
        text: Float[Tensor, "k c"],
        val: Validation | None = None,
    ) -> "Head":
        """Learn from a support set, or from images without labels if it ``sees`` those; returns the head itself."""
        raise NotImplementedError(f"{type(self).__name__} does not define fit")

    def logits(self, tokens: ImageTokens) -> Float[Tensor, "n k"]:
        """Classify: the largest logit of a row is the predicted class.

        Raises:
            RuntimeError: the head has not been fitted.
            ValueError: the width of the features differs from that of the features it was fitted on.
        """
        raise NotImplementedError(f"{type(self).__name__} does not define logits")

    def adapt(self, tokens: TokenStream, criterion: str = "term_agreement") -> "Head":
        """Choose hyperparameters of a fitted head on unlabelled images; only ``label_free`` heads can.

        Raises:
            NotImplementedError: this head does not support it.
        """
        raise NotImplementedError(f"{self.name} cannot choose without labels")

    def forward(self, tokens: ImageTokens) -> Float[Tensor, "n k"]:
        """Same as ``logits``."""
        return self.logits(tokens)

    def shapes(self) -> dict[str, str]:
        """Names and dimensions of the fitted tensors, such as "k c": equal letters are equal sizes, k is classes."""
        return {"text": "k c"} | dict.fromkeys(self.numbers, "")

    def learned(self) -> tuple[str, ...]:
        """Which of ``shapes`` are learned and therefore parameters; the others are buffers."""
        return ()

    @classmethod
    def accepts(cls) -> set[str]:
        """The keyword arguments that the head can be made with."""
        return {field.name for field in fields(cls.Options)} | set(cls.needs)

    @classmethod
    def fixed(cls, shots: int) -> Recipe:
        """The options for every dataset, determined by the number of shots alone.

        Args:
            shots: images per class; if some classes have fewer, the largest number.

        Raises:
            ValueError: ``shots`` is too small for the data that the head uses.
        """
        cls._check_shots(shots)
        return Recipe({}, "this library's defaults")

    @classmethod
    def choosing(cls, shots: int) -> Recipe:
        """Like ``fixed``, for a head that may choose on labelled images: what it can choose is left open."""
        return cls.fixed(shots)

    @classmethod
    def published(
        cls, dataset: str, shots: int, backbone: str = "RN50", logit_scale: float = PUBLISHED_SCALE
    ) -> Recipe:
        """The options published with the head for a dataset. Nothing is searched.

        Args:
            dataset: name of the task.
            shots: images per class.
            backbone: the backbone that the values were published for.
            logit_scale: s, the head's factor on cosines; published weights are scaled in proportion.

        Raises:
            ValueError: there are none; the message says why.
        """
        return Recipe({}, NOTHING)

    @classmethod
    def published_training(cls, dataset: str, shots: int) -> TrainingOptions | None:
        """The published training recipe; None if the head is not trained or the recipe is unknown."""
        return None

    @property
    def chosen(self) -> dict[str, float]:
        """The hyperparameters of the fitted head that were given or chosen, by name.

        Raises:
            RuntimeError: the head has not been fitted.
        """
        return {name: self._number(name) for name in self.numbers}

    def options_dict(self) -> dict[str, Any]:
        """The options as plain JSON values; ``make_method`` makes the same head from them.

        Raises:
            ValueError: an option cannot be represented in JSON.
        """
        values: dict[str, Any] = _plain(asdict(self.options), "options")
        return values

    def parameter_count(self) -> int:
        """Number of values found by the fit, excluding the text features, which are CLIP's."""
        return sum(tensor.numel() for name, tensor in self.state_dict().items() if name != "text")

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False) -> Any:
        """Become the fitted head whose ``state_dict`` this is.

        Raises:
            ValueError: names are missing or unknown, or a shape does not fit.
        """
        check_state(state_dict, self.shapes(), f"this {self.name}")
        for name, tensor in state_dict.items():
            self._keep(name, torch.empty_like(tensor))
        result = super().load_state_dict(state_dict, strict, assign)
        if self.numbers:
            self._say("restored")
        return result

    def _built(self, name: str, value: Any) -> Any:
        """The value of an option, built from its fields if they were given."""
        return self.nested[name](**value) if name in self.nested and isinstance(value, Mapping) else value

    def _keep(self, name: str, tensor: Tensor) -> None:
        """Take a tensor as the parameter or buffer of this name."""
        setattr(self, name, nn.Parameter(tensor) if name in self.learned() else tensor)

    def _fitted(self, name: str, like: Tensor | None = None) -> Tensor:
        """A parameter or buffer, with the device and precision of ``like``.

        Raises:
            RuntimeError: the head has not been fitted.
        """
        found: Tensor | None = getattr(self, name)
        if found is None:
            raise RuntimeError(f"this {self.name} has not been fitted: call fit(tokens, labels, text) first")
        return found if like is None else found.to(like)

    def _number(self, name: str) -> float:
        return float(self._fitted(name))

    def _choose(self, reason: str, **numbers: float) -> None:
        """Store the hyperparameters and their source."""
        for name, value in numbers.items():
            self._keep(name, torch.tensor(value, dtype=torch.float64))
        self._say(reason)

    def _say(self, reason: str) -> None:
        self.chosen_by = f"{reason}: {', '.join(f'{name} = {self._number(name):g}' for name in self.numbers)}"

    def _width(self) -> int:
        """Width of the features that the head was fitted on."""
        return self._fitted("text").shape[1]

    def _parts(
        self, tokens: TokenStream, parts: Callable[[ImageTokens], tuple[Tensor, ...]], *, fused: bool = True
    ) -> tuple[Tensor, ...]:
        """Rows computed from each image of a stream, without keeping its tokens.

        Args:
            tokens: tokens of a validation set.
            parts: tokens of a batch -> tensors of one row per image.
            fused: whether the rows are linear parts of logits, which ``fuse`` combines into one row per item.

        Raises:
            ValueError: features have the wrong width or are not finite, or there are no images.
        """
        found, first = [], 0
        for batch in tokens.batches():
            check_width(batch, self._width(), self.name)
            check_finite("image", batch.pooled, self.name, first)
            if self.reads_spatial:
                check_finite("image", batch.spatial.flatten(1), self.name, first)
            found.append(parts(batch))
            first += len(batch)
        if not found:
            raise ValueError(f"{self.name}: there are no images to choose on: give at least one")
        whole = [torch.cat(column) for column in zip(*found, strict=True)]
        return tuple(self.fuse(rows) if fused else rows for rows in whole)

    @classmethod
    def _check_shots(cls, shots: int) -> None:
        if shots < (1 if cls.sees == "labels" else 0):
            raise ValueError(f"shots is {shots}, expected at least one image per class for {cls.name}")

    @classmethod
    def _unpublished(cls, reason: str) -> ValueError:
        return ValueError(
            f"{cls.name} has no published values: {reason}. Choose the protocol 'validation' or 'fixed'"
        )


def check_state(state: Mapping[str, Tensor], shapes: Mapping[str, str], what: str, classes: int | None = None) -> None:
    """Compare the tensors of a head with its declared names and dimensions.

    Args:
        state: tensors by name.
        shapes: such as {"text": "k c"}: k is the number of classes, equal letters are equal sizes, digits are fixed
            sizes.
        what: the owner of the tensors, for messages.
        classes: required number of classes; any number by default.

    Raises:
        ValueError: names are missing or unknown, or a shape does not fit.
    """
    if set(state) != set(shapes):
        raise ValueError(f"{what} has tensors {sorted(state)}, expected {sorted(shapes)}")
    sizes = {} if classes is None else {"k": classes}
    for name, dims in shapes.items():
        found, expected = tuple(state[name].shape), dims.split()
        known = len(found) == len(expected)
        for letter, size in zip(expected, found, strict=False):
            known &= size == (int(letter) if letter.isdigit() else sizes.setdefault(letter, size))
        if not known:
            raise ValueError(f"{what}: tensor {name} has shape {found}, expected {expected} with {sizes}")


def _plain(value: Any, where: str) -> Any:
    """The same value in JSON's types."""
    if isinstance(value, Mapping):
        return {key: _plain(inner, f"{where}.{key}") for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner, where) for inner in value]
    if value is None or isinstance(value, str | int | float):
        return value
    raise ValueError(f"{where} is {value!r}, which cannot be written down: give a name or a number instead")
