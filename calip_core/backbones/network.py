"""A network that is absent is noticed within seconds; downloads in progress may take as long as they need."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

SECONDS = 10.0
"""How long a server may stay silent."""

_SETTINGS = threading.RLock()  # both settings below belong to the whole process


@contextmanager
def silent_for_seconds_only() -> Iterator[None]:
    """In this block, sockets that have no timeout of their own give up on a server that is silent for ``SECONDS``.

    It is for packages that call ``urllib`` without a timeout, and then wait for ever.
    """
    with _SETTINGS:
        before = socket.getdefaulttimeout()
        socket.setdefaulttimeout(SECONDS)
        try:
            yield
        finally:
            socket.setdefaulttimeout(before)


@contextmanager
def hub_if_reachable() -> Iterator[None]:
    """In this block, ``huggingface_hub`` serves from its cache alone if its server does not answer at once.

    By itself it tries each file six times, for up to two minutes, even one that is in its cache.
    """
    from huggingface_hub import constants

    with _SETTINGS:
        before = constants.HF_HUB_OFFLINE
        constants.HF_HUB_OFFLINE = before or not _hub_answers()
        try:
            yield
        finally:
            constants.HF_HUB_OFFLINE = before


def _hub_answers() -> bool:
    """Whether one request gets any answer, through the proxy of the environment if there is one."""
    from huggingface_hub import constants, get_session

    try:
        get_session().head(constants.ENDPOINT, timeout=SECONDS / 2)
    except Exception:  # the exceptions' classes differ between the HTTP libraries that the package has used
        return False
    return True
