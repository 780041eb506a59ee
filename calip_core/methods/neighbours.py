"""Nearest neighbours among unit vectors, as sparse matrices of cosines."""

import numpy as np
from jaxtyping import Float
from scipy.sparse import csr_matrix
from sklearn.neighbors import NearestNeighbors
from torch import Tensor


def neighbour_cosines(rows: Float[Tensor, "n c"], among: Float[Tensor, "m c"] | None, count: int) -> csr_matrix:
    """Cosines of each row with its ``count`` nearest vectors; negative ones count as 0.

    Args:
        rows: unit vectors.
        among: the vectors to look among; by default the rows themselves, each without itself.
        count: how many neighbours a row has, at most.

    Returns:
        A matrix "n m" with ``count`` entries per row.
    """
    queries = rows.detach().cpu().double().numpy()
    known = queries if among is None else among.detach().cpu().double().numpy()
    count = min(count, len(known) - (among is None))
    if count < 1:
        return csr_matrix((len(queries), len(known)))
    search = NearestNeighbors(n_neighbors=count, metric="euclidean", algorithm="brute").fit(known)
    _, found = search.kneighbors(None if among is None else queries)  # (n, count)
    cosines = np.einsum("nc,njc->nj", queries, known[found]).clip(min=0)
    starts = np.arange(0, count * len(queries) + 1, count)
    return csr_matrix((cosines.ravel(), found.ravel(), starts), shape=(len(queries), len(known)))
