"""Ctrl-C in a command: at any moment but in the middle of an import."""

import os
import signal
import threading
from types import FrameType

_IMPORTING = "<frozen importlib._bootstrap>"
_SECONDS = 0.05


def wait_for_imports() -> None:
    """Let Ctrl-C wait until no import is running: libraries that are cut short in one fail in ways of their own.

    Nothing changes if Ctrl-C is ignored or handled by other code, or outside the main thread.
    """
    main = threading.current_thread() is threading.main_thread()
    if main and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _interrupt)


def _interrupt(number: int, frame: FrameType | None) -> None:
    while frame is not None:
        if frame.f_code.co_filename == _IMPORTING:
            again = threading.Timer(_SECONDS, os.kill, (os.getpid(), number))
            again.daemon = True
            again.start()
            return
        frame = frame.f_back
    raise KeyboardInterrupt
