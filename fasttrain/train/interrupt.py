"""Signals end a run after the step in flight: the handler only sets a flag; a second one ends at once.

Beside SIGTERM and Ctrl-C those that torchrun and cluster managers pass on: SIGHUP, SIGUSR1. One of several processes of
a run ignores further ones: what started them ends them.
"""

import contextlib
import signal
import threading

STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1)


class StopFlag:
    """`received`: the signal that asked this run to stop, or None. once: ignores those after it."""

    def __init__(self, once: bool = False):
        self.received, self.once = None, once

    @contextlib.contextmanager
    def listening(self):
        """Takes the signals over while the block runs (in the main thread; elsewhere it listens to nothing)."""
        if threading.current_thread() is not threading.main_thread():
            yield self
            return
        former = {number: signal.signal(number, self.handle) for number in STOPPING
                  if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN}  # `nohup` ignores it
        try:
            yield self
        finally:
            for number, handler in former.items() if not self.once else ():  # else a late one cuts off how it ends
                signal.signal(number, handler)

    def handle(self, number, frame):
        if self.received is None:
            self.received = signal.Signals(number)
        elif not self.once:
            raise KeyboardInterrupt
