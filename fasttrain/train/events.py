"""The events of a training run and those who listen to them."""

import contextlib
from typing import NamedTuple


class Progress(NamedTuple):
    """Where a run stands inside an epoch. Counts and times start anew with each phase."""

    phase: str  # "train" or "val"
    epoch: int  # 1-based
    epochs: int
    step: int  # steps done
    steps: int  # steps of this phase
    images: int
    seconds: float
    data_wait_seconds: float


class Sink:
    """Listens to a run: any of these may be overridden, none may change what the run does."""

    # Whether a run without this sink is worth nothing: then its errors end the run.
    essential = False

    def start(self, info):
        """Called once, before the first step, with a dict.

        `config` and `environment` (dicts), `folder` (Path of the run), `command` (that repeats the run), `variant`,
        `epochs`, `steps_per_epoch`, `train_images`, `val_images`, `num_classes`, `class_names`, `fingerprints` (of the
        `train` and the `val` images, equal for equal ones), `parameters`, `device`, `precision`, `compile`, `loader`,
        `notes` (lines on what `auto` chose and why), `sizes` (of the training images in each epoch, in pixels),
        `resumed_from` (epochs completed earlier, or 0). May be there:
        `train_batch`, a pair of images (uint8 `[B, S, S, 3]`, numpy) and labels (`[B]`) as the network gets them;
        `model_for_graph`, a pair of the model before it is compiled and an example input.
        """

    def progress(self, progress):
        """Called often from inside the loop with a Progress: has to return within microseconds, mostly."""

    def steps(self, rows):
        """Called after each epoch with a dict of `step` (from 1, over the whole run), `loss`, `lr` for each step."""

    def epoch(self, row):
        """Called after each epoch with its row of `metrics.jsonl` (see `rows.COLUMNS`)."""

    def message(self, text, level="info"):
        """Called with something worth saying; `level` is "info" or "warning"."""

    def finish(self, summary):
        """Called when training ended, with a dict.

        `status` ("done", "interrupted", "diverged" or "failed"), `best_epoch` and `best_val_top1`, `final` (the last
        row), `seconds`, `images_per_second`, `mfu`, `data_wait_fraction`, `compile_seconds`, `peak_memory_bytes`,
        `confusion` (counts, numpy `[classes, classes]`, a row for each true class), `predictions` (the last evaluation:
        a numpy array with the fields `label` and `predicted` for each validation image in order). What is not known is
        None.
        """

    def close(self):
        """Called once at the very end, whatever happened."""


class EventLog(Sink):
    """Hands each event to a list of sinks, in order.

    A sink that fails is dropped with a warning and training goes on, for a picture is not worth a run; one that is
    `essential` passes its error on.
    """

    def __init__(self, sinks=()):
        self.sinks = list(sinks)

    def start(self, info):
        self._each("start", info)

    def progress(self, progress):
        self._each("progress", progress)

    def steps(self, rows):
        self._each("steps", rows)

    def epoch(self, row):
        self._each("epoch", row)

    def message(self, text, level="info"):
        self._each("message", text, level)

    def finish(self, summary):
        self._each("finish", summary)

    def close(self):
        for sink in self.sinks:
            with contextlib.suppress(Exception):
                sink.close()
        self.sinks = []

    def _each(self, event, *args):
        for sink in list(self.sinks):
            try:
                getattr(sink, event)(*args)
            except Exception as error:
                if sink.essential:
                    raise
                self._drop(sink, error)

    def _drop(self, sink, error):
        self.sinks.remove(sink)
        with contextlib.suppress(Exception):
            sink.close()
        name = type(sink).__name__
        self.message(f"{name} is off for the rest of this run: {type(error).__name__}: {error}", "warning")
