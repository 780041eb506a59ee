"""What the book was made on, so that a reader can judge its times."""

import os
import platform
from importlib import metadata
from pathlib import Path

_PACKAGES = ("calip-core", "torch", "torchvision", "clip-anytorch", "numpy", "scipy", "scikit-learn", "scikit-image")


def describe_machine() -> dict[str, str]:
    """Processor, cores, accelerator and system, in words."""
    import torch  # takes seconds, and only a run needs it

    accelerator = torch.cuda.get_device_name() if torch.cuda.is_available() else "none"
    return {
        "processor": processor(),
        "cores": str(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()),
        "accelerator": accelerator,
        "system": f"{platform.system()} {platform.machine()}",
    }


def processor(cpuinfo: Path = Path("/proc/cpuinfo")) -> str:
    """The processor's name, as precise as the system tells."""
    if cpuinfo.exists():
        for line in cpuinfo.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def versions() -> dict[str, str]:
    """Python and the packages that results depend on most."""
    return {"Python": platform.python_version()} | {name: metadata.version(name) for name in _PACKAGES}
