"""What is asked of every panel on an open page."""

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page


def barriers_on(page: Page) -> list[str]:
    """What axe-core finds serious or critical on the page as it is now."""
    found = Axe().run(page, options={"preload": False}).response["violations"]  # a file cannot read style sheets again
    serious = [fault for fault in found if fault["impact"] in ("serious", "critical")]
    return [f"{fault['id']}: {node['html'][:120]}" for fault in serious for node in fault["nodes"]]


def overflow(page: Page) -> int:
    """Pixels by which the page is wider than its window."""
    wide: int = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    return wide


def type_into(page: Page, label: str, text: str) -> None:
    """Replace what a field holds, by keyboard, and press Enter."""
    page.get_by_label(label, exact=True).focus()
    page.keyboard.press("Control+A")
    page.keyboard.type(text)
    page.keyboard.press("Enter")
