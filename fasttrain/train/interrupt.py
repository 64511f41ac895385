"""SIGTERM and Ctrl-C end a run after the step in flight: the handler only sets a flag; a second Ctrl-C ends at once."""

import contextlib
import signal
import threading

STOPPING = (signal.SIGTERM, signal.SIGINT)


class StopFlag:
    """`received`: the signal that asked this run to stop, or None."""

    def __init__(self):
        self.received = None

    @contextlib.contextmanager
    def listening(self):
        """Takes the signals over while the block runs (in the main thread; elsewhere it listens to nothing)."""
        if threading.current_thread() is not threading.main_thread():
            yield self
            return
        former = {number: signal.signal(number, self.handle) for number in STOPPING}
        try:
            yield self
        finally:
            for number, handler in former.items():
                signal.signal(number, handler)

    def handle(self, number, frame):
        if self.received is not None:
            raise KeyboardInterrupt
        self.received = signal.Signals(number)
