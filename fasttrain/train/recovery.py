"""Continues from the newest checkpoint that is whole, and mends the others from it."""

from collections.abc import Callable

from fasttrain.errors import DataError
from fasttrain.train.checkpoint import Checkpoints, State, newest

Warn = Callable[[str], None]


def recover(checkpoints: Checkpoints, warn: Warn) -> State:
    """Returns the newest state that is whole and mends the folder; `warn` gets a line for each file that was not whole.

    Only for the process that has claimed the run. DataError where no checkpoint is whole.
    """
    listed = mend_manifest(checkpoints, warn)
    states, errors = checkpoints.load_all()
    used = newest(states, errors)
    state = states[used]
    for name in errors:
        checkpoints.path(name).unlink(missing_ok=True)
    if "last" in errors:
        known = listed.get("last.pt", {})
        lost = f" instead of {place(known)}" if "epoch" in known else ""
        warn(f"{errors['last']}; continuing from {used}.pt, {place(state)}{lost}")
        checkpoints.save("last", state)
    if "previous" in errors:
        warn(f"{errors['previous']}; the next save makes another")
    if "best" in errors:
        states |= replace_best(checkpoints, states, errors["best"], warn)
    # what the next epochs have to beat is the file that is there
    return {**state, "best": top1(states["best"])} if "best" in states else state


def mend_manifest(checkpoints: Checkpoints, warn: Warn) -> dict[str, dict]:
    """Returns the manifest; writes one that is not whole anew and says so."""
    try:
        return checkpoints.read_manifest()
    except DataError as error:
        listed = checkpoints.rebuild_manifest()
        warn(f"{error}; written anew from the checkpoints")
        checkpoints.write_manifest(listed)
        return listed


def replace_best(checkpoints: Checkpoints, states: dict[str, State], error: DataError, warn: Warn) -> dict[str, State]:
    """Saves the best of the states that are left as `best`, and says so."""
    best = max(states.values(), key=top1)
    if top1(best) < 0:
        warn(f"{error}; the next epoch makes another")
        return {"best": best}
    warn(f"{error}; the one {place(best)} is the best that is left")
    checkpoints.save("best", best)
    return {"best": best}


def place(facts: State) -> str:
    """Returns where in the run a checkpoint was saved, in words."""
    steps = facts.get("step_in_epoch", 0)
    return f"after epoch {facts['epoch']}" + (f" and {steps} steps" if steps else "")


def top1(state: State) -> float:
    """Returns the validation top-1 of a state's weights; -1 in the middle of an epoch, where nothing measured them."""
    rows = state.get("rows")
    return rows[-1]["val_top1"] if rows and not state["step_in_epoch"] else -1.0
