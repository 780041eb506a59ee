"""The landing page's panel in a browser."""

from tests.book.live.conftest import OpenPanel


def test_it_is_made(live_page: OpenPanel) -> None:
    assert live_page("landing").locator(".calip-live-made").count() == 1
