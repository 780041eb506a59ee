"""The seeds that NumPy, scikit-learn and torch all take."""

from typing import Annotated

from pydantic import Field, StrictInt

LARGEST_SEED = 2**32 - 1

Seed = Annotated[StrictInt, Field(ge=0, le=LARGEST_SEED)]
