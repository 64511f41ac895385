"""What is killed and disturbed: a run, a pack, a report. Each knows its commands and when it is whole."""

import contextlib
import hashlib
import os
from pathlib import Path

from PIL import Image

from fasttrain.cli.main import main
from fasttrain.data.pack import open_pack, verify
from fasttrain.data.sources import open_source
from fasttrain.errors import FasttrainError
from fasttrain.perf import ceilings
from fasttrain.runs import lifecycle
from fasttrain.runs.run import load_run
from fasttrain.runs.sinks.console import console_sink
from fasttrain.runs.sinks.files import FilesSink, LogSink
from fasttrain.train.checkpoint import NAMES, Checkpoints
from fasttrain.train.rows import MEASURED
from tests.data.trees import image_folder

NETWORK = Path(__file__).with_name("network.py")
EPOCHS = 3
WORDS = ("--arch", f"{NETWORK}:tiny", "--head", "own", "--data", "synthetic:classes=3,train=8,val=4,size=32",
         "--image-size", "32", "--batch-size", "8", "--epochs", str(EPOCHS), "--set", "save_every=1", "--lr", "0.05",
         "--device", "cpu", "--precision", "fp32", "--threads", "1", "--compile", "off", "--loader", "resident")


def use_cache(folder: Path) -> None:
    """Keeps packs and drawn data below `folder`."""
    os.environ["FASTTRAIN_CACHE"] = str(folder)


def without_pictures(folder, console=None):
    """The sinks of a run but for pictures and TensorBoard, which take most of a short one."""
    return [console or console_sink(), LogSink(folder), FilesSink(folder)]


class Run:
    """A run of three epochs and nine steps, saved after each epoch. pictures: with all that a run writes."""

    def __init__(self, folder: Path, pictures: bool = False):
        self.folder, self.pictures = folder, pictures

    def __call__(self) -> int:
        if not self.pictures:
            lifecycle.default_sinks = without_pictures
            ceilings.matmul_flops = lambda *_: 1e12  # measuring it takes longer than the run
        return main(["run", *WORDS, "--out", str(self.folder), "--resume", "auto"])

    def result(self) -> tuple:
        """Returns what two equal runs have in common: weights and rows."""
        state = Checkpoints(self.folder / "checkpoints").load("last")
        rows = [{key: value for key, value in row.items() if key not in MEASURED}
                for row in load_run(self.folder).rows]
        return state["epoch"], digest(state["model"]), repr(rows)

    def epoch(self) -> int:
        """Returns how many epochs the newest checkpoint has, 0 without any; FasttrainError if none can be read."""
        states, errors = Checkpoints(self.folder / "checkpoints").load_all()
        if errors and not states:
            raise next(iter(errors.values()))
        return max((state["epoch"] for state in states.values()), default=0)


class Pack:
    """Packing a small tree of images."""

    def __init__(self, tree: Path, folder: Path):
        self.tree, self.folder = tree, folder

    def __call__(self) -> int:
        use_cache(self.folder)
        return main(["data", "pack", "--data", str(self.tree), "--image-size", "32"])

    def result(self) -> tuple:
        """Returns the fingerprint of the pack, after each file of it was hashed; FasttrainError where one differs."""
        pack = open_pack(open_source(str(self.tree)), 32, cache=self.folder, on_message=lambda text: None)
        verify(pack)
        return (pack.fingerprint,)


class Report:
    """Comparing the runs below a folder."""

    def __init__(self, runs: Path, folder: Path):
        self.runs, self.folder = runs, folder

    def __call__(self) -> int:
        return main(["report", str(self.runs), "--out", str(self.folder)])

    def result(self) -> tuple:
        """Returns the names of the files of the report; each has to be whole."""
        names = sorted(path.name for path in self.folder.iterdir() if path.is_file())
        for path in self.folder.glob("*.png"):
            Image.open(path).load()
        for path in self.folder.glob("*.html"):
            if not path.read_text().rstrip().endswith("</html>"):
                raise FasttrainError(f"{path}: is cut off")
        return tuple(names)


def digest(state: dict) -> str:
    """Returns the sha256 of all tensors of a state."""
    found = hashlib.sha256()
    for name, tensor in state.items():
        found.update(name.encode() + tensor.contiguous().numpy().tobytes())
    return found.hexdigest()


def draw_tree(folder: Path, classes: int = 2) -> Path:
    """Draws a small folder of train/CLASS and val/CLASS with images of 32 x 32; returns it."""
    names = [f"{split}/class{label}/{number}.jpg" for split, count in (("train", 6), ("val", 2))
             for label in range(classes) for number in range(count)]
    return image_folder(folder, names, (32, 32))


def readable(run: Run) -> list[str]:
    """Returns which checkpoints of a run can be read."""
    found = []
    for name in NAMES:
        with contextlib.suppress(FasttrainError):
            Checkpoints(run.folder / "checkpoints").load(name)
            found.append(name)
    return found
