"""Networks of one's own, by reference: from the command line through every command that reads them back."""

import json
import signal
import sys
from pathlib import Path

import pytest
import torch

from fasttrain import RunConfig, evaluate, export, load_run, predict, run
from fasttrain.cli.main import main
from fasttrain.errors import ConfigError, Interrupted
from fasttrain.models import build_model
from fasttrain.perf.summary import summarize
from fasttrain.registry import HEADS
from fasttrain.train.events import Sink

EXAMPLE = Path(__file__).parents[2] / "examples" / "own_network.py"
DATA = "synthetic:classes=3,train=8,val=4,size=32"
PLAIN = {"data": DATA, "image_size": 32, "device": "cpu", "batch_size": 8, "lr": 0.1, "precision": "fp32",
         "compile": "off", "threads": 1, "augment": {"crop_padding": 0}}


def config(arch, folder, head="own", **changes):
    return RunConfig(arch=str(arch), head=head, **{**PLAIN, "epochs": 2, "out": str(folder), **changes})


@pytest.fixture
def file(tmp_path):
    """A copy of the example that a test may change."""
    path = tmp_path / "nets" / "own_network.py"
    path.parent.mkdir()
    path.write_text(EXAMPLE.read_text())
    return path


class Stop(Sink):
    """Sends the run a signal after its first epoch."""

    def epoch(self, epoch):
        signal.raise_signal(signal.SIGTERM)


def stopped(config):
    """Leaves a run that has one epoch of two."""
    with pytest.raises(Interrupted):
        run(config, sinks=[Stop()])


@pytest.mark.parametrize("head", [*HEADS.names(), "own"])
def test_a_network_maps_images_to_logits_under_every_head_and_draws_by_the_seed(head):
    arch = f"{EXAMPLE}:{'whole' if head == 'own' else 'small'}"
    first, again, other = (build_model(arch, head, 7, 32, seed=seed) for seed in (1, 1, 2))
    assert first.eval()(torch.randn(2, 3, 32, 32)).shape == (2, 7)
    weights = [list(net.state_dict().values()) for net in (first, again, other)]
    assert all(map(torch.equal, weights[0], weights[1])) and not all(map(torch.equal, weights[0], weights[2]))


def test_a_reference_to_a_module_is_the_same_network(file, monkeypatch):
    monkeypatch.syspath_prepend(file.parent)
    monkeypatch.delitem(sys.modules, "own_network", raising=False)
    by_file, by_module = (build_model(f"{name}:small", "origin", 3, 32, seed=0) for name in (file, "own_network"))
    assert all(map(torch.equal, by_file.state_dict().values(), by_module.state_dict().values()))


@pytest.mark.parametrize("factory, head", [("small", "maxpool"), ("whole", "own")])
def test_it_trains_and_every_command_reads_it_back(file, factory, head, tmp_path, capsys):
    folder = tmp_path / "run"
    words = [word for key, value in PLAIN.items() if key != "augment"
             for word in ("--" + key.replace("_", "-"), str(value))]
    network = ["--arch", f"{file}:{factory}", "--head", head]
    assert main(["run", *network, "--epochs", "2", "--out", str(folder), *words]) == 0
    finished = load_run(folder)
    assert len(finished.rows) == 2 and finished.config.variant == f"{factory}_{head}"
    found = evaluate(folder)
    assert found["val_top1"] == max(row["val_top1"] for row in finished.rows)
    told = export(folder, tmp_path / "net.safetensors")
    assert told["max_difference"] <= 1e-4 * told["largest_logit"]
    told = export(folder, tmp_path / "net.pt2", to="torch-export")
    assert told["max_difference"] <= 1e-4 * told["largest_logit"]
    assert main(["summary", *network, "--classes", "3"]) == 0
    assert main(["profile", *network, *words, "--out", str(tmp_path / "profile")]) == 0
    assert (tmp_path / "profile" / "profile.html").exists()


def test_costs_are_counted_where_a_rule_is_known_and_named_where_not(file):
    file.write_text(file.read_text() + """

class Odd(nn.Module):
    def forward(self, x):
        return x.cumsum(1)


odd = lambda: nn.Sequential(small(), Odd())
""")
    known, odd = (summarize(f"{file}:{name}", "origin", 3, 32) for name in ("small", "odd"))
    assert known.not_counted == [] and odd.not_counted != []
    assert known.parameters == odd.parameters == sum(
        p.numel() for p in build_model(f"{file}:small", "origin", 3, 32).parameters())
    assert known.true_totals["flops"] == odd.true_totals["flops"]


def test_a_resumed_run_ends_as_one_that_was_never_stopped(file, tmp_path):
    arch = f"{file}:whole"
    straight = run(config(arch, tmp_path / "straight"), sinks=[])
    stopped(config(arch, tmp_path / "parts"))
    parts = run(config(arch, tmp_path / "parts", resume=str(tmp_path / "parts")), sinks=[])
    keys = ("train_loss", "val_loss", "val_top1")
    assert [[row[key] for key in keys] for row in parts.rows] == [[row[key] for key in keys] for row in straight.rows]


def test_a_changed_factory_is_refused_at_resume(file, tmp_path, capsys):
    stopped(config(f"{file}:whole", tmp_path / "run"))
    file.write_text(file.read_text().replace("nn.ReLU(inplace=True)", "nn.GELU()"))  # all shapes stay
    with pytest.raises(ConfigError, match="is not what it was when the run began"):
        run(config(f"{file}:whole", tmp_path / "run", resume=str(tmp_path / "run")), sinks=[])


@pytest.mark.parametrize("arch, head, text", [
    ("nowhere.py:net", "own", "No such file"),
    ("nowhere_at_all:net", "own", "cannot be imported: ModuleNotFoundError"),
    ("{file}:missing", "own", "has no function or class 'missing'"),
    ("{file}:nn", "own", "has no function or class 'nn'"),
    ("{file}:whole", "origin", "returns [B, 3], no feature map"),
    ("{file}:small", "own", "returns [B, 64, 4, 4], and --head own needs logits [B, 3]"),
    ("{file}:raises", "own", "fails: ZeroDivisionError: division by zero"),
    ("{file}:leaves", "own", "fails: SystemExit: 3"),
    ("{file}:number", "own", "returns int, not a torch.nn.Module"),
    ("{file}:empty", "own", "has no parameters"),
    ("{file}:narrow", "own", "cannot take images of 32 px: RuntimeError"),
    ("{file}:pair", "own", "returns no batch of tensors"),
    ("{file}:small:", "own", "neither package.module:factory nor FILE.py:factory"),
    ("a b:c", "own", "neither package.module:factory nor FILE.py:factory"),
    ("resnet18", "own", "resnet18 has none of its own"),
])
def test_what_is_no_network_is_one_line_and_leaves_nothing(file, tmp_path, capsys, arch, head, text):
    file.write_text(file.read_text() + """

raises = lambda: 1 / 0
leaves = lambda: exit(3)
number = lambda: 3
empty = lambda: nn.ReLU()
narrow = lambda num_classes: nn.Linear(5, num_classes)


class Pair(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = small()

    def forward(self, x):
        return self.net(x), x


pair = Pair
""")
    words = ["--arch", arch.format(file=file), "--head", head, "--data", DATA, "--image-size", "32"]
    assert main(["run", *words, "--out", str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err
    assert text in error and error.count("\n") == 1 and not (tmp_path / "out").exists()


def test_a_file_that_is_no_python_is_one_line(tmp_path, capsys):
    (tmp_path / "bad.py").write_text("def f(:\n")
    assert main(["run", "--arch", f"{tmp_path}/bad.py:f", "--head", "own", "--data", DATA, "--image-size", "32",
                 "--out", str(tmp_path / "out")]) == 2
    assert "cannot be imported: SyntaxError" in capsys.readouterr().err


def test_predict_and_the_stem(file, tmp_path):
    from PIL import Image

    run(config(f"{file}:whole", tmp_path / "run", epochs=1), sinks=[])
    Image.new("RGB", (32, 32), "red").save(tmp_path / "red.png")
    found = predict(tmp_path / "run", [tmp_path / "red.png"])
    assert "red.png" in json.dumps(found, default=str)
    with pytest.raises(ConfigError, match="stem"):
        config(f"{file}:whole", tmp_path / "other", stem="small")


def live(width=4, seed=0):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return torch.nn.Sequential(torch.nn.Conv2d(3, width, 3, 4), torch.nn.BatchNorm2d(width), torch.nn.ReLU())


def live_config(folder, **changes):
    return RunConfig(**{**PLAIN, "head": "origin", "epochs": 2, "out": str(folder), **changes})


def test_a_live_module_trains_a_copy_from_its_weights_and_can_be_evaluated(tmp_path):
    net = live()
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    finished = run(live_config(tmp_path / "run"), model=net)
    assert all(torch.equal(tensor, before[name]) for name, tensor in net.state_dict().items())
    still = run(live_config(tmp_path / "still", lr=1e-30, epochs=1, optimizer={"weight_decay": 0}), model=net)
    kept = torch.load(still.folder / "checkpoints" / "last.pt", weights_only=True)["model"]
    torch.testing.assert_close(kept["net.0.weight"], before["0.weight"])
    assert finished.config.variant == "Sequential_origin"
    assert evaluate(finished.folder)["val_top1"] == max(row["val_top1"] for row in finished.rows)


def test_a_live_module_resumes_with_one_of_the_same_weights_only(tmp_path):
    straight = run(live_config(tmp_path / "straight"), model=live(), sinks=[])
    with pytest.raises(Interrupted):
        run(live_config(tmp_path / "parts"), model=live(), sinks=[Stop()])
    again = live_config(tmp_path / "parts", resume=str(tmp_path / "parts"))
    with pytest.raises(ConfigError, match="other names or shapes"):
        run(again, model=live(width=5), sinks=[])
    parts = run(again, model=live(seed=9), sinks=[])
    assert [row["val_loss"] for row in parts.rows] == [row["val_loss"] for row in straight.rows]


def test_a_factory_and_what_is_none(tmp_path, monkeypatch):
    namespace = {}
    exec(EXAMPLE.read_text(), namespace)
    finished = run(live_config(tmp_path / "run", epochs=1, head="own"), model=namespace["whole"], sinks=[])
    assert finished.config.variant == "whole_own"
    with pytest.raises(ConfigError, match="model: int is neither"):
        run(live_config(tmp_path / "other"), model=3)
    monkeypatch.setattr("fasttrain.models.own.given", {})
    with pytest.raises(ConfigError, match="by another process"):
        evaluate(finished.folder)
    assert not (tmp_path / "other").exists()
