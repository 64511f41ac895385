"""TensorBoard event files in the run folder: `tensorboard --logdir runs` shows all runs, named by their folders."""

from __future__ import annotations

import contextlib
import copy
import io
import math
import sys
import warnings
from pathlib import Path

from fasttrain.config import RunConfig
from fasttrain.storage import move_into_place
from fasttrain.train.events import Epoch, Finish, Sink, Start
from fasttrain.train.rows import finite
from fasttrain.train.status import DONE

# Tags by the column of a row: training and validation of one quantity lie in one group.
TAGS = {
    "train_loss": "loss/train", "val_loss": "loss/val",
    "train_top1": "top1/train", "val_top1": "top1/val", "val_top1_tta": "top1/val_tta",
    "train_top5": "top5/train", "val_top5": "top5/val",
    "val_macro_f1": "macro_f1/val",
    "images_per_second": "speed/images_per_second", "data_wait_fraction": "speed/data_wait_fraction",
}
# Counted in optimizer steps, all others in epochs.
STEP_TAGS = {"loss": "steps/train_loss", "lr": "steps/lr"}
# Written when a run ends, anew after each resume. A chart of one dot each: their group comes last in the alphabet.
FINAL_TAGS = {
    "val_loss": "val_best/loss", "val_top1": "val_best/top1", "val_top5": "val_best/top5",
    "val_macro_f1": "val_best/macro_f1", "val_top1_tta": "val_best/top1_tta",
}
OLD_FINAL = "best/"  # what these tags began with in version 0.1
# TensorBoard shows about a thousand points of a curve, and each one costs 0.1 ms.
POINTS_PER_EPOCH = 50


class TensorBoardSink(Sink):
    """Writes scalars by step and by epoch, hyperparameters, the graph of the network, and the run folder's pictures."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.writer = None
        self.last_epoch, self.pictures = 0, {}

    def start(self, start: Start) -> None:
        from torch.utils.tensorboard import FileWriter

        self.last_epoch = len(start.rows)
        events = event_folder(self.folder)
        if start.rows:
            rewind(events, self.last_epoch, self.last_epoch * start.steps_per_epoch)
        self.writer = FileWriter(events, max_queue=1000, flush_secs=30)
        started, self.ended = session(start.config)
        self._add(started, 0)
        if not start.rows and start.model_for_graph is not None:
            self._graph(*start.model_for_graph)

    def epoch(self, epoch: Epoch) -> None:
        stride = math.ceil(len(epoch.steps) / POINTS_PER_EPOCH)
        for step in epoch.steps[:: stride or 1]:
            self._add(scalars(step, STEP_TAGS), step["step"])
        self.last_epoch = epoch.row["epoch"]
        self._add(scalars(epoch.row, TAGS), self.last_epoch)
        self.writer.flush()

    def picture(self, path: Path) -> None:
        self.pictures[path] = self.last_epoch

    def finish(self, finish: Finish) -> None:
        if finish.best:
            self._add(scalars(finish.best, FINAL_TAGS), finish.best["epoch"])
        if finish.status == DONE:
            self._add(self.ended, 0)

    def close(self) -> None:
        if self.writer:
            for path, epoch in self.pictures.items():
                self._add(picture(f"pictures/{path.stem}", path), epoch)
            self.writer.close()

    def _add(self, summary, step):
        self.writer.add_summary(summary, step)

    def _graph(self, model, example):
        try:
            self.writer.add_graph(trace(model, example))
        except Exception as error:  # a picture of the network is not worth a run
            print(f"warning: TensorBoard gets no graph: {type(error).__name__}: {str(error)[:200]!r}", file=sys.stderr)


def event_folder(folder: Path) -> Path:
    """Returns where a run folder has its event files: `tb` inside of it in runs that version 0.1 began."""
    return folder / "tb" if (folder / "tb").is_dir() else folder


def scalars(row, tags):
    """A summary of the values of `row` under their tags; what is not finite is left out."""
    from tensorboard.compat.proto.summary_pb2 import Summary

    return Summary(value=[Summary.Value(tag=tag, simple_value=row[key]) for key, tag in tags.items()
                          if finite(row.get(key)) is not None])


def picture(tag, path):
    """A summary of a PNG file, byte for byte."""
    from PIL import Image
    from tensorboard.compat.proto.summary_pb2 import Summary

    with Image.open(path) as image:
        width, height = image.size
    encoded = Summary.Image(width=width, height=height, colorspace=3, encoded_image_string=path.read_bytes())
    return Summary(value=[Summary.Value(tag=tag, image=encoded)])


def session(config: RunConfig):
    """Returns the summaries that put a run into the HPARAMS table: its hyperparameters, and that it came to its end."""
    from torch.utils.tensorboard.summary import hparams

    known = {name: value for name, value in config.flat().items()
             if value is not None and name not in ("out", "resume")}
    # The first summary would list, once for all runs, what to show. Without it TensorBoard looks at each run.
    return hparams(known, {})[1:]


def trace(model, example):
    """The graph of a network as TensorBoard draws it, from a copy: the model itself is left as it is."""
    import torch
    from torch.utils.tensorboard._pytorch_graph import graph

    clone, inputs = copy.deepcopy(model).cpu().eval(), (example.cpu().float(),)
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        traced = torch.jit.trace(clone, inputs, check_trace=False)  # the check takes four times as long as the trace
        return graph(traced, inputs)


def rewind(folder, epochs, steps):
    """Drops from event files what an earlier process wrote past the point where a run is resumed.

    TensorBoard's own means, a purge step, knows a single axis; these files have two.
    """
    from tensorboard.backend.event_processing.event_file_loader import LegacyEventFileLoader
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.summary.writer.record_writer import RecordWriter

    def outdated(tag, step):
        if tag in STEP_TAGS.values():
            return step > steps
        return step > epochs or tag in FINAL_TAGS.values() or tag.startswith((OLD_FINAL, "_hparams_/"))

    for path in sorted(folder.glob("events.out.tfevents.*")):
        part = path.with_name("rewinding")
        with part.open("wb") as file:
            for event in LegacyEventFileLoader(str(path)).Load():
                if event.HasField("summary"):
                    kept = [value for value in event.summary.value if not outdated(value.tag, event.step)]
                    event.summary.CopyFrom(Summary(value=kept))
                RecordWriter(file).write(event.SerializeToString())
        move_into_place(part, path)
