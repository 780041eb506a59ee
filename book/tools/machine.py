"""The machine on which the book was built, so that readers can judge its times."""

import platform
from importlib import metadata

_PACKAGES = ("calip-core", "torch", "torchvision", "clip-anytorch", "numpy", "scipy", "scikit-learn", "scikit-image")


def describe_machine() -> dict[str, str]:
    """Processor, cores, accelerator and system, in words."""
    import torch  # slow to import, and needed only here

    from calip_core.environment import core_count, processor_name

    accelerator = torch.cuda.get_device_name() if torch.cuda.is_available() else "none"
    return {
        "processor": processor_name(),
        "cores": str(core_count()),
        "accelerator": accelerator,
        "system": f"{platform.system()} {platform.machine()}",
    }


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that results depend on most."""
    return {"Python": platform.python_version()} | {name: metadata.version(name) for name in _PACKAGES}
