"""What was tried and what held: one line a promise."""

import json
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from fasttrain.storage import write_atomically

TOLD = 20  # failures that are kept in full


@dataclass
class Tally:
    """One promise. counts: what the trials were, such as the phase of a save in which a kill came."""

    name: str
    promise: str
    tried: int = 0
    held: int = 0
    counts: Counter = field(default_factory=Counter)
    failed: list[str] = field(default_factory=list)
    seconds: float = 0.0

    def check(self, trial: object, *faults: str | None) -> None:
        """Counts one trial; it held if there is no fault."""
        found = [fault for fault in faults if fault]
        self.tried += 1
        self.held += not found
        if found and len(self.failed) < TOLD:
            self.failed.append(f"{trial}: {'; '.join(found)}")


def lines(tallies: list[Tally]) -> list[str]:
    """Returns the table as Markdown, and the failures below it."""
    rows = [f"| {t.promise} | {t.tried:,} | {t.held:,} | {', '.join(f'{k} {n:,}' for k, n in sorted(t.counts.items()))}"
            f" | {t.seconds / 60:.1f} |" for t in tallies]
    failures = [f"- {t.name}, {failure}" for t in tallies for failure in t.failed]
    return ["| promise | tried | held | of these | minutes |", "|---|---|---|---|---|", *rows,
            *(["", "Failed:", "", *failures] if failures else [])]


def write(tallies: list[Tally], folder: Path, seed: int, environment: dict) -> None:
    """Writes torture.md and torture.json."""
    versions = f"Python {environment.get('python')}, torch {environment.get('torch')}."
    title = [f"# What held, seed {seed}", "", versions, ""]
    write_atomically(folder / "torture.md", "\n".join([*title, *lines(tallies)]) + "\n")
    write_atomically(folder / "torture.json", json.dumps({"seed": seed, "environment": environment,
                                                         "promises": [vars(t) for t in tallies]}, indent=1) + "\n")
