"""The book's status page, generated from the records of the chapters' runs."""

import json
from collections.abc import Iterable
from typing import Any

from book.tools.markdown import table

_NOT_RUN = """\
## What has not been run

- **OpenAI's weights.** This copy was built with the miniature, without a download. `load_backbone("RN50")` and the
  other names are tested with random weights in the same file format, not with the published ones.
- **The datasets of the literature.** None was available. Their loaders are tested on small stand-ins in the original
  formats; downloads have been tested only against a local server.
- **Colab itself.** The set-up cell is tested in a fresh environment that contains little more than torch. Keeping
  caches and results on Google Drive has not been tried.
- **Published numbers** are never mixed with measured ones. Each appears with its source.
"""


def status_page(records: Iterable[dict[str, Any]]) -> str:
    """The page as MyST Markdown.

    Args:
        records: the records written by ``book.tools.execute``, one per chapter.
    """
    records = list(records)
    parts = ["# What was run, where and when", _summary(records), "## Chapters", _chapters(records)]
    parts += ["## Machine", _machines(records), "## Versions", _versions(records), _NOT_RUN]
    return "\n\n".join(parts)


def _summary(records: list[dict[str, Any]]) -> str:
    seconds = sum(record["seconds"] for record in records)
    cells = sum(record["code_cells"] for record in records)
    return (
        f"This copy of the book executed {len(records)} chapters with {cells} code cells; their run times add up to "
        f"{_time(seconds)}. Two chapters run at a time. Everything below was recorded by those runs."
    )


def _chapters(records: list[dict[str, Any]]) -> str:
    rows = [
        [
            f"[](notebooks/{record['chapter']})",
            _time(record["seconds"]),
            record["code_cells"],
            record["when"][:16].replace("T", " "),
        ]
        for record in records
    ]
    return table(["chapter", "run time", "code cells", "when (UTC)"], rows)


def _machines(records: list[dict[str, Any]]) -> str:
    machines = {json.dumps(record["machine"], sort_keys=True): record["machine"] for record in records}
    rows = [[name, value] for machine in machines.values() for name, value in machine.items()]
    return table(["property", "value"], rows)


def _versions(records: list[dict[str, Any]]) -> str:
    versions = sorted({(name, version) for record in records for name, version in record["versions"].items()})
    return table(["package", "version"], [list(row) for row in versions])


def _time(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.1f} min"
