"""How a run stands: the one vocabulary of events, run folders, studies and reports."""

DONE = "done"  # every epoch is trained, or `patience` ended the run
DIVERGED = "diverged"  # the loss stopped being a finite number; training it again would end the same way
INTERRUPTED = "interrupted"  # epochs are missing: a signal stopped the run, it was killed, or it is still running
FAILED = "failed"  # an error ended the run
TO_DO = "to do"  # no epoch is finished yet

BY_EXIT_CODE = {0: DONE, 4: DIVERGED, 75: INTERRUPTED, 130: INTERRUPTED}


def of_exit_code(code: int) -> str:
    """Returns the status that the exit code of a run stands for, see `errors`; FAILED for every other code."""
    return BY_EXIT_CODE.get(code, FAILED)
