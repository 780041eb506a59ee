"""The first figure of a chapter, for the landing page."""

import json


def hero(executed: str) -> str:
    """The first figure of an executed chapter as HTML; empty if it has none."""
    outputs = [output for cell in json.loads(executed).get("cells", []) for output in cell.get("outputs", [])]
    shown = ("".join(output.get("data", {}).get("text/html", "")) for output in outputs)
    return next((html for html in shown if "calip-figure" in html), "")
