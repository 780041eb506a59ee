"""ZLaP: labels spread from the class vectors through a graph of neighbours."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from scipy.sparse import bmat, csr_matrix, diags_array, eye_array
from scipy.sparse.linalg import cg
from torch import Tensor

from calip_core.methods.inputs import check_at_least_one, check_weight
from calip_core.methods.neighbours import neighbour_cosines
from calip_core.methods.text_only import TextOnly
from calip_core.tokens import ImageTokens

_TOLERANCE = 1e-6


class Zlap(TextOnly):
    """logits = s times the rows of (I - alpha W)^-1 Y that belong to images (Stojnić et al., CVPR 2024).

    The nodes of the graph are the classes and the images of the batch; Y marks the classes. W is the adjacency,
    divided by the roots of both nodes' degrees: cosines of nearest images, and cosines of images and their nearest
    classes to a power, which makes the two kinds comparable (arXiv 2404.04072, section 3).
    """

    name = "zlap"
    sees = "batch"

    @dataclass(frozen=True, kw_only=True)
    class Options(TextOnly.Options):
        """Options of ZLaP; the defaults are the published ones.

        Attributes:
            neighbours: of each image, among the images and among the classes.
            spread: alpha, how far labels spread, below 1.
            power: the power of cosines between images and classes.

        Raises:
            ValueError: an option is out of range.
        """

        neighbours: int = 5
        spread: float = 0.3
        power: float = 5.0

        def __post_init__(self) -> None:
            check_at_least_one("neighbours", self.neighbours, "zlap")
            check_weight("power", self.power, "zlap")
            if not 0 <= self.spread < 1:
                raise ValueError(f"zlap: spread is {self.spread}, expected a number from 0 to below 1")

    options: Options

    def logits(self, tokens: ImageTokens) -> Float[Tensor, "n k"]:
        """The images are the batch: their labels spread together."""
        images, text = self._pair(tokens)
        graph = self._graph(images, text)
        system = eye_array(graph.shape[0], format="csr") - self.options.spread * graph
        classes = len(text)
        scores = np.empty((len(images), classes))
        for k in range(classes):
            one = np.zeros(graph.shape[0])
            one[k] = 1
            solution, failed = cg(system, one, rtol=_TOLERANCE)
            if failed:
                raise RuntimeError(f"zlap: conjugate gradients did not converge for class {k}: choose a smaller spread")
            scores[:, k] = solution[classes:]
        return self.options.logit_scale * torch.from_numpy(scores).to(images)

    def _graph(self, images: Float[Tensor, "n c"], text: Float[Tensor, "k c"]) -> csr_matrix:
        """The normalised adjacency of classes, then images."""
        among = neighbour_cosines(images, None, self.options.neighbours)
        to_classes = neighbour_cosines(images, text, self.options.neighbours).power(self.options.power)
        adjacency = bmat([[None, to_classes.T], [to_classes, (among + among.T) / 2]], format="csr")
        degrees = np.asarray(adjacency.sum(axis=1)).ravel()
        roots = diags_array(1 / np.sqrt(np.where(degrees > 0, degrees, 1.0)))
        return csr_matrix(roots @ adjacency @ roots)
