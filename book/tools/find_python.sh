#!/bin/sh
# Print a Python that can make the environment: 3.11 or newer, with venv and ensurepip. Candidates are run, not only
# looked up: a version manager's shim may be on the path and yet refuse to start.
# Usage: find_python.sh [PYTHON]; with an argument, only that one will do.

usable='import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))'
for candidate in ${1:-python3 python3.13 python3.12 python3.11 python3.14 python}; do
  if "$candidate" -c "$usable" >/dev/null 2>&1; then
    echo "$candidate"
    exit 0
  fi
done
echo "no usable Python 3.11 or newer among: ${1:-python3, python3.11 to python3.14, python}." >&2
echo "Install one with its venv module (on Debian and Ubuntu: python3-venv), or say which: make PYTHON=/path/to/python" >&2
exit 1
