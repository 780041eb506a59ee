"""Programs that tests start, and what runs below them."""

import subprocess
import sys

CALIP = [sys.executable, "-c", "import sys; from calip_core.cli import main; sys.exit(main())"]
"""The command ``calip``, with the Python that runs the tests."""


def descendants(process):
    """The process ids below one."""
    children = subprocess.run(["ps", "-o", "pid=", "--ppid", str(process)], capture_output=True, text=True).stdout
    return [pid for child in children.split() for pid in (int(child), *descendants(child))]
