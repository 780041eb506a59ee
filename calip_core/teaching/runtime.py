"""Where a chapter runs, and where what it computes is kept."""

import sys

import torch

from calip_core.environment import core_count, processor_name
from calip_core.paths import cache_dir, results_file

_DRIVE = "/content/drive/"


def show_runtime() -> None:
    """Print the device that "auto" chooses, what it is good for, and the folders of caches and results."""
    print(_device())
    print(f"Caches: {cache_dir()}. Results: {results_file()}.{_kept_how_long()}")


def _device() -> str:
    if torch.cuda.is_available():
        return f"Device: {torch.cuda.get_device_name()}. OpenAI's weights run well here."
    return (
        f"Device: {processor_name()}, {core_count()} cores, no GPU. The stated time is for a miniature; with OpenAI's "
        "weights, encoding takes minutes per 1,000 images."
    )


def _kept_how_long() -> str:
    if "google.colab" not in sys.modules or str(cache_dir()).startswith(_DRIVE):
        return ""
    return " Both end with this Colab runtime: tick _KEEP_ON_DRIVE above to keep them."
