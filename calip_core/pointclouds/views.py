"""View sets: viewing directions and picture style for projecting a cloud, one per file of ``data/views``."""

import math
from functools import cache
from typing import Annotated, Literal

import torch
from jaxtyping import Float, Float32
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    FiniteFloat,
    PositiveFloat,
    PositiveInt,
    model_validator,
)
from torch import Tensor

from calip_core.pointclouds.names import VIEW_DIR, available_view_sets
from calip_core.yaml_model import read_model

Text = Annotated[str, Field(min_length=1)]
Triple = tuple[FiniteFloat, FiniteFloat, FiniteFloat]


class View(BaseModel):
    """One viewing direction: a rotation of the cloud by Euler angles, then a second rotation, the tilt."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    label: Text
    """The side from which the cloud is seen, along its own axes: ``-z``, ``+x+z``."""
    angles: Triple
    """Degrees about x, y and z: R = R_x R_y R_z."""
    tilt: Triple = (0.0, 0.0, 0.0)
    """Degrees about x, y and z of the second rotation."""


class Voxels(BaseModel):
    """How PointCLIP V2 draws voxels; lengths are in voxels unless stated otherwise."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    slices: Annotated[int, Field(ge=3)]
    """Slices in depth; the first stays empty, and the last holds only what rounding pushes into it."""
    fill: Annotated[float, Field(gt=0, le=1)]
    """Fraction of the picture's side that the longest side of the cloud takes."""
    depth_bias: Annotated[FiniteFloat, Field(ge=0)]
    """Added to a depth from 0 to 1 before rescaling, so that the farthest point differs from the background, 0."""
    pool: PositiveInt
    """Side of the max-pooling window, which closes the gaps between points."""
    pool_padding: Annotated[int, Field(ge=0)]
    smooth: PositiveInt
    """Side of the Gaussian window; odd."""
    sigma: PositiveFloat
    """Its standard deviation."""
    shift: Triple
    """Added to every point before centring: it only affects rounding, which decides some voxels."""
    bright: bool = False
    """Draw near points bright on black, instead of the published dark on white."""

    @model_validator(mode="after")
    def _windows_fit(self) -> "Voxels":
        if self.smooth % 2 == 0 or self.pool_padding > self.pool // 2:
            raise ValueError(
                f"smooth is {self.smooth} and pool_padding {self.pool_padding}: expected an odd window, and padding "
                f"of at most half the pool, {self.pool // 2}"
            )
        return self

    def grid_side(self, resolution: int) -> int:
        """Rows and columns of the voxel grid whose picture, once pooled, has ``resolution`` rows and columns."""
        return resolution + self.pool - 1 - 2 * self.pool_padding


class ViewSet(BaseModel):
    """Views of a cloud and the style of the picture.

    ``perspective`` is PointCLIP's: a pinhole camera at ``distance`` from the cloud's centre draws each point as one
    pixel with its depth. ``voxels`` is PointCLIP V2's: a dense, smoothed voxel grid under orthographic projection.

    Raises:
        pydantic.ValidationError: a field is missing, unknown, of the wrong type, or inconsistent with the style.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Text
    style: Literal["perspective", "voxels"]
    description: Text
    source: Text
    views: Annotated[tuple[View, ...], Field(min_length=1)]
    resolution: PositiveInt
    """Default rows and columns of a picture."""
    distance: PositiveFloat | None = None
    """For ``perspective``: distance from the pinhole to the origin, in units of the cloud (unit sphere: radius 1)."""
    voxels: Voxels | None = None
    """For ``voxels``: the grid."""
    standardise: bool = False
    """Whether the encoder's input is standardised with CLIP's mean and standard deviation of photographs."""

    @model_validator(mode="after")
    def _agrees_with_its_style(self) -> "ViewSet":
        given = {name for name in ("distance", "voxels") if getattr(self, name) is not None}
        wanted = {"distance"} if self.style == "perspective" else {"voxels"}
        if given != wanted:
            raise ValueError(f"style {self.style} with {sorted(given)}: expected {sorted(wanted)} alone")
        if len(set(self.labels)) != len(self.labels):
            raise ValueError(f"labels are {self.labels}: expected a different label for every view")
        return self

    def __len__(self) -> int:
        return len(self.views)

    @property
    def labels(self) -> tuple[str, ...]:
        """The views' labels, in order."""
        return tuple(view.label for view in self.views)

    @property
    def largest_value(self) -> float:
        """The largest possible value in a picture of a cloud in the unit sphere; the smallest is 0."""
        return 1.0 if self.distance is None else self.distance + 1.0

    def rotations(self) -> Float32[Tensor, "v 3 3"]:
        """The first rotations, as matrices for column vectors: p' = R p."""
        return rotation_matrices([view.angles for view in self.views])

    def tilts(self) -> Float32[Tensor, "v 3 3"]:
        """The second rotations, as matrices for column vectors."""
        return rotation_matrices([view.tilt for view in self.views])


def rotation_matrices(degrees: list[Triple]) -> Float32[Tensor, "v 3 3"]:
    """R_x R_y R_z for each triple of angles, in degrees.

    Computed in float32 from the cosine on, as in the published code: a quarter turn is not exact there, and points on a
    pixel border must fall on the same side.
    """
    radians = torch.tensor([[math.radians(angle) for angle in angles] for angles in degrees], dtype=torch.float32)
    x, y, z = (_about(axis, radians[:, axis]) for axis in range(3))
    return x @ y @ z


def _about(axis: int, angle: Float[Tensor, " v"]) -> Float[Tensor, "v 3 3"]:
    """Rotations about one axis, counter-clockwise for a viewer towards whom the axis points."""
    after, last = (axis + 1) % 3, (axis + 2) % 3
    matrix = torch.zeros(len(angle), 3, 3)
    matrix[:, axis, axis] = 1.0
    matrix[:, after, after] = matrix[:, last, last] = angle.cos()
    matrix[:, last, after] = angle.sin()
    matrix[:, after, last] = -angle.sin()
    return matrix


@cache
def view_set(name: str) -> ViewSet:
    """Read and check ``data/views/NAME.yaml``.

    Raises:
        ValueError: there is no such view set (the message lists the known ones), or the file does not describe one.
    """
    if name not in available_view_sets():
        raise ValueError(f"views is {name!r}, expected one of {', '.join(available_view_sets())}")
    path = VIEW_DIR / f"{name}.yaml"
    views = read_model(path, ViewSet, "a view set")
    if views.name != name:
        raise ValueError(f"{path} is the view set {views.name!r}: its name must be that of its file, {name!r}")
    return views
