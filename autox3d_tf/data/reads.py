"""Reads that a dataset makes in Python, and the end of Python."""

import atexit
import threading
import time


class Reads:
    """Lets Python end only when no thread of a dataset is reading.

    The threads that read ahead need Python's lock. One that asks for it while
    Python ends never gets it, and the end of the iterator, which waits for
    that thread, holds the process for ever. So before, every further read
    fails at once, and with failing reads the threads soon have no more to do.

    Args:
        quiet_secs: Seconds without a read that count as having no more to do.
        limit_secs: Seconds to wait at most.
    """

    def __init__(self, quiet_secs: float = 0.2, limit_secs: float = 30.0):
        self._quiet, self._limit = quiet_secs, limit_secs
        self._lock = threading.Lock()
        self._running, self._last, self._closed = 0, None, False
        atexit.register(self.close)

    def __enter__(self):
        with self._lock:
            self._last = time.monotonic()
            if self._closed:
                raise RuntimeError("Python is ending: nothing more is read.")
            self._running += 1

    def __exit__(self, *error):
        with self._lock:
            self._last = time.monotonic()
            self._running -= 1

    def close(self) -> None:
        """Makes further reads fail; waits for those under way."""
        self._closed = True
        deadline = time.monotonic() + self._limit
        while time.monotonic() < deadline and not self._idle():
            time.sleep(0.01)

    def _idle(self) -> bool:
        with self._lock:
            quiet = (
                self._last is None
                or time.monotonic() - self._last > self._quiet
            )
            return quiet and not self._running
