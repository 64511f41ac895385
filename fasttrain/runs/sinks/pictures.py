"""The pictures and the card of a run folder, drawn while it runs and when it ends."""

import time

from fasttrain.train.events import Sink
from fasttrain.train.rows import read_rows

# Drawing costs a second: between epochs it may take this share of the time.
DRAWING_SHARE = 0.005


class PicturesSink(Sink):
    """Draws from the run's files, so it has to come after the sink that writes them.

    `train_batch.png` at the start; `results.png` every now and then and at the end; `confusion.png`, `per_class.png`
    and `card.md` at the end.
    """

    def __init__(self, folder):
        self.folder = folder
        self.drawn_at = time.perf_counter()
        self.cost = 1.0

    def start(self, info):
        from fasttrain.data.mosaic import draw_batch

        self.info = info
        if "train_batch" in info:
            images, labels = info["train_batch"]
            draw_batch(images, labels, info["class_names"], self.folder / "train_batch.png",
                       f"{info['variant']}: a training batch as the network gets it")

    def epoch(self, row):
        if time.perf_counter() - self.drawn_at > self.cost / DRAWING_SHARE:
            self._draw_results()

    def finish(self, summary):
        from fasttrain.runs.sinks.card import write_card
        from fasttrain.runs.sinks.confusion import draw_confusion, draw_per_class

        rows, confusion, names = self._draw_results(), summary["confusion"], self.info["class_names"]
        if confusion is not None:
            draw_confusion(confusion, names, self.folder / "confusion.png", f"{self.info['variant']}: confusion")
            draw_per_class(confusion, names, self.folder / "per_class.png")
        write_card(self.folder, self.info, rows, summary, self.info["command"])

    def _draw_results(self):
        from fasttrain.runs.sinks.curves import draw_results

        started = time.perf_counter()
        rows = read_rows(self.folder / "metrics.jsonl")
        if rows:
            draw_results(rows, self.folder / "results.png", title(self.info))
        self.drawn_at = time.perf_counter()
        self.cost = self.drawn_at - started
        return rows


def title(info):
    """What was trained how, in one short line."""
    config = info["config"]
    return (f"{info['variant']}, recipe {config['recipe']}, {info['train_images']:,} images of {info['num_classes']} "
            f"classes, batch {config['batch_size']}, seed {config['seed']}")
