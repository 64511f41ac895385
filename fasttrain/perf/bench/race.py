"""A race: contenders, each in a process of its own, measured in turns (A B C A B C).

What else the machine does then hits all of them alike.
"""

import contextlib
from collections.abc import Callable, Iterable, Iterator

from fasttrain.perf.bench.worker import Failure, Worker


class Contender:
    """A contender with what it measured so far; one that failed stays out of further turns.

    source: its class, "module:attribute"; settings: the arguments of that class; see `worker`. worker: its process once
    it started. samples: its measurements. failure: the Failure that ended it, or None.
    """

    def __init__(self, name: str, source: str, settings: dict):
        self.name, self.source, self.settings = name, source, settings
        self.worker: Worker | None = None
        self.samples: list[dict] = []
        self.failure: Failure | None = None

    def start(self, stack: contextlib.ExitStack, environment: dict[str, str] | None = None) -> None:
        """Builds it in a process that ends with `stack`. environment: variables for that process."""
        with self.failing():
            self.worker = stack.enter_context(Worker(self.source, self.settings, environment))

    def measure(self) -> None:
        with self.failing():
            self.samples.append(self.worker.measure())

    @contextlib.contextmanager
    def failing(self):
        try:
            yield
        except Failure as failure:
            self.failure = failure

    @property
    def facts(self) -> dict:
        """What it says of itself."""
        return self.worker.facts

    @property
    def speeds(self) -> list[float]:
        """Images a second in each measurement so far."""
        return [sample["images"] / sample["seconds"] for sample in self.samples]

    def news(self, say: Callable[["Contender"], str]) -> str:
        """Returns a line about its last action: what `say` makes of it, or how it failed."""
        return f"{self.name}: {f'{self.failure.status}: {self.failure}' if self.failure else say(self)}"


def take_turns(contenders: Iterable[Contender], rounds: int) -> Iterator[Contender]:
    """Measures every contender once in each round; yields it after its turn, the one in which it fails included."""
    for _ in range(rounds):
        for contender in contenders:
            if contender.failure is None:
                contender.measure()
                yield contender
