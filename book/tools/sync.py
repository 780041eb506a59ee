"""Generate everything derived from the chapters' sources: their set-up cells and their Colab editions (.ipynb).

Usage: python -m book.tools.sync [--check]
"""

import argparse
import re
import sys
from pathlib import Path

from book.tools.chapters import (
    NOTEBOOKS,
    ChapterError,
    chapter_sources,
    read_chapter,
    replacing,
    repository_url,
    to_ipynb,
)
from book.tools.colab import METADATA, ColabEdition
from book.tools.form import check_form

_TEMPLATE = Path(__file__).with_name("setup_cell.py.txt")
_SETUP = re.compile(r'(^# %% tags=\["setup"[^\n]*\n).*?(?=^# %%)', re.DOTALL | re.MULTILINE)


def setup_source() -> str:
    """The set-up cell's code: the template with the repository's URL."""
    return _TEMPLATE.read_text(encoding="utf-8").replace("{url}", repository_url()).strip()


def with_setup(text: str) -> str:
    """A chapter's py:percent text with the body of its set-up cell replaced by the template."""
    return _SETUP.sub(lambda cell: f"{cell[1]}{setup_source()}\n\n", text)


def derived(folder: Path = NOTEBOOKS) -> dict[Path, str]:
    """The expected content of each derived file.

    Raises:
        ChapterError: chapters do not have the required structure; the message names all of them.
    """
    edition = ColabEdition(folder)
    files, faults = {}, []
    for source in chapter_sources(folder):
        text = with_setup(source.read_text(encoding="utf-8"))
        notebook = read_chapter(source, text)
        try:
            check_form(notebook, source.stem)
            files[source.with_suffix(".ipynb")] = to_ipynb(edition.cells(notebook, source.stem), METADATA)
        except ChapterError as error:
            faults.append(f"{source.name} {error}")
        files[source] = text
    if faults:
        raise ChapterError("\n".join(faults))
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
