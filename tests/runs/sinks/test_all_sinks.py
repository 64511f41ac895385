"""All sinks together, as a run uses them."""

import io
import re
import subprocess
import sys

import numpy as np
from PIL import Image

from fasttrain.runs.sinks.console import TextSink
from fasttrain.runs.sinks.files import FilesSink, LogSink
from fasttrain.runs.sinks.pictures import PicturesSink
from fasttrain.runs.sinks.tensorboard import TensorBoardSink


def test_a_run_folder_holds_everything_and_its_card_embeds_the_pictures(fabricated, tmp_path):
    sinks = [TextSink(io.StringIO()), LogSink(tmp_path), FilesSink(tmp_path), PicturesSink(tmp_path),
             TensorBoardSink(tmp_path)]
    images = np.random.default_rng(0).integers(0, 256, (4, 64, 64, 3), dtype=np.uint8)
    info = fabricated.info(tmp_path, epochs=3) | {"train_batch": (images, np.array([0, 1, 2, 3]))}
    fabricated.play(sinks, info)
    assert "warning" not in (tmp_path / "log.txt").read_text()
    assert {path.name for path in tmp_path.iterdir()} == {
        "card.md", "confusion.png", "env.json", "log.txt", "metrics.jsonl", "per_class.png", "predictions.npy",
        "results.csv", "results.png", "tb", "train_batch.png"}
    card = (tmp_path / "card.md").read_text()
    assert set(re.findall(r"!\[.+?\]\((.+?)\)", card)) == {path.name for path in tmp_path.glob("*.png")}
    assert "```sh\nfasttrain run --arch resnet18 --head maxpool" in card
    assert "| best | 3 | 27.00 | 42.00 | 25.50 |" in card
    assert "torch 2." in card


def test_a_run_that_ends_before_its_first_epoch_has_a_card_and_no_curves(fabricated, tmp_path):
    sink = PicturesSink(tmp_path)
    sink.start(fabricated.info(tmp_path, epochs=3))
    sink.finish(dict.fromkeys(fabricated.summary([fabricated.row(1)]), None) | {"status": "interrupted", "final": {}})
    assert [path.name for path in tmp_path.iterdir()] == ["card.md"]
    assert "No epoch was finished." in (tmp_path / "card.md").read_text()


def test_curves_are_drawn_between_epochs_only_where_that_is_cheap(fabricated, tmp_path, monkeypatch):
    clock = [0.0]
    monkeypatch.setattr("time.perf_counter", lambda: clock[0])
    files, pictures = FilesSink(tmp_path), PicturesSink(tmp_path)
    for sink in (files, pictures):
        sink.start(fabricated.info(tmp_path, epochs=3))
    files.epoch(fabricated.row(1))
    clock[0] = 10.0
    pictures.epoch(fabricated.row(1))
    assert not (tmp_path / "results.png").exists()
    clock[0] = 3600.0
    pictures.epoch(fabricated.row(1))
    with Image.open(tmp_path / "results.png") as picture:
        assert picture.size == (1600, 960)
    files.close()


def test_nothing_heavy_is_imported_before_it_is_used():
    code = ("import sys; from fasttrain import environment; from fasttrain.train import events, rows\n"
            "from fasttrain.runs.sinks import card, console, curves, files, pictures, tensorboard\n"
            "print({'torch', 'matplotlib', 'tensorboard', 'numpy', 'rich', 'PIL'} & set(sys.modules))")
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "set()\n"
