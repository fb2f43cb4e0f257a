"""Ctrl-C and SIGTERM: finish what is being written, save, stop."""

import os
import signal
import threading
from types import FrameType, TracebackType
from typing import Any

_MESSAGE = b"\nstopping and saving; once more stops at once (the last checkpoint stays)\n"


class StopOnSignals:
    """While active, the first signal only sets ``received``; the second one interrupts.

    Outside of the main thread, to which alone Python gives signals, nothing is caught.
    """

    def __init__(self) -> None:
        self.received = False
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> "StopOnSignals":
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                # a handler that is not Python's could not be put back
                if signal.getsignal(number) is not None:
                    self._previous[number] = signal.signal(number, self._handle)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.received:
            raise KeyboardInterrupt
        self.received = True
        os.write(2, _MESSAGE)  # print could be interrupted in the middle of itself
