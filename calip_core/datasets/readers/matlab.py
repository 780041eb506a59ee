"""Reading MATLAB files."""

from pathlib import Path

import numpy as np
from jaxtyping import Shaped
from scipy.io import loadmat


def read_mat(path: Path, variable: str) -> Shaped[np.ndarray, " n"]:
    """One variable of a ``.mat`` file as a one-dimensional array, without MATLAB's axes of length one.

    Raises:
        ValueError: the file is damaged, or has no such variable.
    """
    try:
        content = loadmat(path, squeeze_me=True)
    except Exception as error:  # scipy raises ValueError, TypeError, NotImplementedError, zlib.error, ...
        raise ValueError(f"{path} is not a readable MATLAB file ({error}): fetch it again") from error
    if variable not in content:
        known = [name for name in content if not name.startswith("__")]
        raise ValueError(f"{path} has the variables {known}, expected {variable}: is it the right file?")
    values: Shaped[np.ndarray, " n"] = np.atleast_1d(content[variable])
    return values
