"""All sinks together, as a run uses them."""

import io
import re
import subprocess
import sys

import numpy as np
import yaml
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from fasttrain.runs.sinks.console import TextSink
from fasttrain.runs.sinks.files import FilesSink, LogSink
from fasttrain.runs.sinks.pictures import PicturesSink
from fasttrain.runs.sinks.tensorboard import TensorBoardSink


def names(folder):
    """The files of a run folder; that of TensorBoard, named by time, host and process, as "events"."""
    return {"events" if path.name.startswith("events.out.tfevents.") else path.name for path in folder.iterdir()}


def test_a_run_folder_holds_everything_and_its_card_embeds_the_pictures(fabricated, tmp_path):
    sinks = [TextSink(io.StringIO()), LogSink(tmp_path), FilesSink(tmp_path), PicturesSink(tmp_path),
             TensorBoardSink(tmp_path)]
    images = np.random.default_rng(0).integers(0, 256, (4, 64, 64, 3), dtype=np.uint8)
    start = fabricated.start(tmp_path, epochs=3, train_batch=(images, np.array([0, 1, 2, 3])))
    fabricated.play(sinks, start)
    assert "warning" not in (tmp_path / "log.txt").read_text()
    assert names(tmp_path) == {
        "card.md", "confusion.png", "env.json", "log.txt", "metrics.jsonl", "mistakes.png", "per_class.png",
        "predictions.npy", "results.csv", "results.png", "events", "train_batch.png"}
    card = (tmp_path / "card.md").read_text()
    assert set(re.findall(r"!\[.+?\]\((.+?)\)", card)) == {path.name for path in tmp_path.glob("*.png")}
    assert "```sh\nfasttrain run --arch resnet18 --head maxpool" in card
    assert "| best | 3 | 27.00 | 42.00 | 25.50 |" in card
    assert "torch 2." in card
    facts = yaml.safe_load(card.split("---\n")[1])
    assert facts["pipeline_tag"] == "image-classification"
    assert facts["model-index"][0]["results"][0]["metrics"][0] == {"type": "accuracy", "name": "top-1", "value": 0.27}


def test_a_run_that_ends_before_its_first_epoch_has_a_card_and_no_curves(fabricated, tmp_path):
    sink = PicturesSink(tmp_path)
    sink.start(fabricated.start(tmp_path, epochs=3))
    sink.finish(fabricated.early_finish("interrupted"))
    assert [path.name for path in tmp_path.iterdir()] == ["card.md"]
    assert "No epoch was finished." in (tmp_path / "card.md").read_text()


def test_curves_are_drawn_between_epochs_only_where_that_is_cheap(fabricated, tmp_path, monkeypatch):
    clock = [0.0]
    monkeypatch.setattr("time.perf_counter", lambda: clock[0])
    pictures, epoch = PicturesSink(tmp_path), fabricated.epoch(fabricated.row(1))
    pictures.start(fabricated.start(tmp_path, epochs=3))
    clock[0] = 10.0
    pictures.epoch(epoch)
    assert not (tmp_path / "results.png").exists()
    clock[0] = 3600.0
    pictures.epoch(epoch)
    with Image.open(tmp_path / "results.png") as picture:
        assert picture.size == (1600, 960)


def test_sinks_need_no_order(fabricated, tmp_path):
    """Whoever comes first, the folder holds the same and TensorBoard gets every picture."""
    held = []
    for order in (1, -1):
        folder = tmp_path / str(order)
        folder.mkdir()
        sinks = [LogSink(folder), FilesSink(folder), PicturesSink(folder), TensorBoardSink(folder)][::order]
        images = np.zeros((4, 64, 64, 3), np.uint8)
        fabricated.play(sinks, fabricated.start(folder, 2, train_batch=(images, np.arange(4))))
        held.append(names(folder))
        events = EventAccumulator(str(folder), size_guidance={"images": 0}).Reload()
        assert {tag.removeprefix("pictures/") for tag in events.Tags()["images"]} == \
            {path.stem for path in folder.glob("*.png")}
    assert held[0] == held[1]


def test_nothing_heavy_is_imported_before_it_is_used():
    code = ("import sys; from fasttrain import environment; from fasttrain.train import events, rows\n"
            "from fasttrain.runs.sinks import card, console, curves, files, pictures, tensorboard\n"
            "print({'torch', 'matplotlib', 'tensorboard', 'numpy', 'rich', 'PIL'} & set(sys.modules))")
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "set()\n"
