"""Errors that end a command. Each has an exit code; its text is the one line that the user reads."""

import signal


class FasttrainError(Exception):
    """Says what went wrong, where, and what to do, in one line."""

    exit_code = 1


class ConfigError(FasttrainError):
    """A flag, key or combination that cannot work."""

    exit_code = 2


class DataError(FasttrainError):
    """Data that is missing, damaged or of the wrong shape."""

    exit_code = 3


class DivergedError(FasttrainError):
    """Losses, weights or statistics stopped being finite numbers, and going back did not help."""

    exit_code = 4


class Interrupted(FasttrainError):
    """Something, mostly a signal, stopped the run after it saved a checkpoint: it can be resumed.

    by: the signal; Ctrl-C has an exit code of its own.
    """

    def __init__(self, message: str, by: signal.Signals | None = None):
        super().__init__(message)
        self.exit_code = 130 if by == signal.SIGINT else 75


class PeerLost(FasttrainError):
    """Another process of the run ended, or does not answer."""


class Silent(FasttrainError):
    """Ends a process for a reason that another one has told: has no text."""

    def __init__(self, exit_code: int):
        super().__init__()
        self.exit_code = exit_code
