"""The first figure of a chapter, for the landing page."""

import json


def hero(page: str) -> str:
    """The first figure of a chapter's page (``page.chapter_page``) as HTML for a page one folder up; empty if none."""
    outputs = [output for cell in json.loads(page).get("cells", []) for output in cell.get("outputs", [])]
    shown = ("".join(output.get("data", {}).get("text/html", "")) for output in outputs)
    return next((html for html in shown if "calip-figure" in html), "").replace('"../', '"')
