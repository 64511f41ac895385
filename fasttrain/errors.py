"""Errors that end a command: each carries its exit code, and its text is the one line that the user reads."""


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
    """The loss stopped being a finite number."""

    exit_code = 4


class Interrupted(FasttrainError):
    """Stopped by a signal after a checkpoint was saved: the run can be resumed. 130 where the signal was Ctrl-C."""

    def __init__(self, message, exit_code=75):
        super().__init__(message)
        self.exit_code = exit_code
