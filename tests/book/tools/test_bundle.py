"""The bundler: what it makes of small modules, and what it refuses."""

from pathlib import Path

import pytest
from playwright.sync_api import BrowserContext

from book.tools.bundle import BundleError, bundle

MAIN = """\
import { half, PARTS } from "./sub/other.js";
export function start(address, source) {
  window.found = { address, sum: half(3) + PARTS, again: new Function("return " + source)()["sub/other.js"].half(8) };
}
"""
OTHER = """\
const hidden = 2;
export const PARTS = 5;
export function half(value) {
  return value / hidden;
}
"""


def modules(folder: Path, **sources: str) -> Path:
    (folder / "sub").mkdir()
    for name, source in sources.items():
        (folder / f"{name.replace('_', '/')}.js").write_text(source)
    return folder


def test_a_bundle_runs_from_a_file_and_again_from_its_source(tmp_path: Path, offline: BrowserContext) -> None:
    (tmp_path / "bundle.js").write_text(bundle(modules(tmp_path, main=MAIN, sub_other=OTHER)))
    (tmp_path / "page.html").write_text("<!doctype html><script src=bundle.js></script>")
    page = offline.new_page()
    page.goto((tmp_path / "page.html").as_uri())
    assert page.evaluate("found") == {"address": (tmp_path / "bundle.js").as_uri(), "sum": 6.5, "again": 4}
    page.close()


@pytest.mark.parametrize(
    ("other", "said"),
    [
        ("export default 3;", r"sub/other.js: 'export default 3;'"),
        ("import x from './x.js';", r"sub/other.js: .import x"),
        ('import { start } from "../main.js";', r"main.js imports sub/other.js imports main.js: a circle"),
        ('import { gone } from "./gone.js";', r"sub/other.js imports sub/gone.js, which does not exist"),
    ],
)
def test_what_it_cannot_bundle_it_names(tmp_path: Path, other: str, said: str) -> None:
    with pytest.raises(BundleError, match=said):
        bundle(modules(tmp_path, main=MAIN, sub_other=other))
