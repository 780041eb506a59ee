"""Generate everything derived from the chapters' sources: their set-up cells and their .ipynb files.

Usage: python -m book.tools.sync [--check]
"""

import argparse
import hashlib
import json
import re
import sys
from collections import Counter
from pathlib import Path
from typing import Any

from book.tools.chapters import NOTEBOOKS, ChapterError, chapter_sources, read_chapter, replacing, repository_url

_TEMPLATE = Path(__file__).with_name("setup_cell.py.txt")
_SETUP = re.compile(r'(^# %% tags=\["setup"[^\n]*\n).*?(?=^# %%)', re.DOTALL | re.MULTILINE)
_METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}


def setup_source() -> str:
    """The set-up cell's code: the template with the repository's URL."""
    return _TEMPLATE.read_text(encoding="utf-8").replace("{url}", repository_url()).strip()


def with_setup(text: str) -> str:
    """A chapter's py:percent text with the body of its set-up cell replaced by the template."""
    return _SETUP.sub(lambda cell: f"{cell[1]}{setup_source()}\n\n", text)


def to_ipynb(notebook: Any) -> str:
    """A notebook without outputs as JSON text; the same cells give the same bytes.

    A cell's id is derived from its content, so other cells keep theirs when one is inserted.
    """
    seen: Counter[str] = Counter()
    cells = []
    for cell in notebook.cells:
        content = f"{cell.cell_type}\n{cell.source}"
        seen[content] += 1
        identity = hashlib.sha256(f"{content}\n{seen[content]}".encode()).hexdigest()[:12]
        metadata = {"tags": cell.metadata["tags"]} if "tags" in cell.metadata else {}
        lines = cell.source.splitlines(keepends=True)
        new = {"cell_type": cell.cell_type, "id": identity, "metadata": metadata, "source": lines}
        cells.append(new | ({"execution_count": None, "outputs": []} if cell.cell_type == "code" else {}))
    document = {"cells": cells, "metadata": _METADATA, "nbformat": 4, "nbformat_minor": 5}
    return json.dumps(document, indent=1, ensure_ascii=False, sort_keys=True) + "\n"


def derived(folder: Path = NOTEBOOKS) -> dict[Path, str]:
    """The expected content of each derived file.

    Raises:
        ChapterError: a chapter does not have the required structure.
    """
    files = {}
    for source in chapter_sources(folder):
        text = with_setup(source.read_text(encoding="utf-8"))
        files[source] = text
        files[source.with_suffix(".ipynb")] = to_ipynb(read_chapter(source, text))
    return files


def stale(folder: Path = NOTEBOOKS) -> list[Path]:
    """Files that differ from what `make sync` would write, and notebooks whose source no longer exists."""
    files = derived(folder)
    changed = [path for path, text in files.items() if not path.exists() or path.read_text(encoding="utf-8") != text]
    return changed + [path for path in sorted(folder.glob("*.ipynb")) if path not in files]


def sync(folder: Path = NOTEBOOKS) -> list[Path]:
    """Write every stale file, remove notebooks whose source no longer exists, and return all of these paths."""
    files = derived(folder)
    changed = stale(folder)
    for path in changed:
        if path not in files:
            path.unlink()
            continue
        with replacing(path) as temporary:
            temporary.write_text(files[path], encoding="utf-8")
    return changed


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="change nothing; fail if something would change")
    check = parser.parse_args(arguments).check
    try:
        changed = stale() if check else sync()
    except ChapterError as error:
        print(f"sync: {error}", file=sys.stderr)
        return 1
    for path in changed:
        print(f"{'stale: run make sync' if check else 'wrote'}: {path.name}")
    return int(check and bool(changed))


if __name__ == "__main__":
    sys.exit(main())
