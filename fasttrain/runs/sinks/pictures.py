"""The pictures and the card of a run folder, drawn while it runs and when it ends."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from fasttrain.format import short
from fasttrain.train.events import Epoch, Finish, Sink, Start
from fasttrain.train.rows import Row
from fasttrain.train.schedules import learning_rate

if TYPE_CHECKING:
    from fasttrain.train.mistakes import Mistakes

# Drawing costs a second: between epochs it may take this share of the time.
DRAWING_SHARE = 0.005
RATES_SHOWN = 600  # points of the learning rate's curve, about one for each pixel


class PicturesSink(Sink):
    """Draws `train_batch.png` at the start; `results.png` now and then and at the end; `confusion.png`,
    `per_class.png`, `mistakes.png` and `card.md` at the end."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.drawn_at = time.perf_counter()
        self.cost = 1.0

    def start(self, start: Start) -> None:
        from fasttrain.data.mosaic import draw_batch

        self.run = start
        if start.train_batch is not None:
            images, labels = start.train_batch
            self._draw(draw_batch, "train_batch.png", images, labels, start.class_names,
                       title=f"{start.config.variant}: a training batch as the network gets it")

    def epoch(self, epoch: Epoch) -> None:
        if time.perf_counter() - self.drawn_at > self.cost / DRAWING_SHARE:
            self._draw_results(epoch.rows)

    def finish(self, finish: Finish) -> None:
        from fasttrain.runs.sinks.card import write_card
        from fasttrain.runs.sinks.confusion import draw_confusion, draw_per_class

        self._draw_results(finish.rows)
        if finish.confusion is not None:
            names = self.run.class_names
            self._draw(draw_confusion, "confusion.png", finish.confusion, names,
                       title=f"{self.run.config.variant}: confusion")
            self._draw(draw_per_class, "per_class.png", finish.confusion, names)
        found = finish.mistakes and finish.mistakes()
        if found:
            self._draw(draw_mistakes, "mistakes.png", found, self.run.class_names,
                       title=f"{self.run.config.variant}: the worst mistakes: what the best weights saw, what it is")
        write_card(self.folder, self.run, finish)

    def _draw_results(self, rows: list[Row]) -> None:
        from fasttrain.runs.sinks.curves import draw_results

        started = time.perf_counter()
        if rows:
            self._draw(draw_results, "results.png", rows, title=title(self.run), rates=rates(self.run, len(rows)))
        self.drawn_at = time.perf_counter()
        self.cost = self.drawn_at - started

    def _draw(self, draw, name, *content, **options):
        draw(*content, path=self.folder / name, **options)
        self.announce(self.folder / name)


def draw_mistakes(found: Mistakes, class_names: Sequence[str], path: Path, title: str) -> None:
    """Draws images, each above the class that it was taken for, how surely, and the true class."""
    from fasttrain.data.mosaic import draw_mosaic

    names = [short(name, 99) for name in class_names]
    captions = [f"{sure:.0%} {names[taken]}\nis {names[true]}"
                for sure, taken, true in zip(found.sureness, found.predicted, found.labels, strict=True)]
    draw_mosaic(found.images, captions, path, title)


def rates(run: Start, epochs: int) -> list[tuple[float, float]]:
    """Returns the learning rate over the first epochs of a run, at a few hundred of their steps, as (epochs, rate)."""
    steps = run.steps_per_epoch
    shown = range(0, epochs * steps, max(1, epochs * steps // RATES_SHOWN))
    return [((step + 0.5) / steps, learning_rate(run.config, step, steps)) for step in shown]


def title(run: Start) -> str:
    """Returns what was trained how, in one short line."""
    config = run.config
    return (f"{config.variant}, recipe {config.recipe}, {run.train_images:,} images of {run.num_classes} "
            f"classes, batch {config.batch_size}, seed {config.seed}")
