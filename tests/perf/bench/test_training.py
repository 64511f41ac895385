"""`bench step` and `bench e2e`: their rows, their turns, what fails, the peers, the pictures."""

import json
import subprocess
import sys
import types

import pytest
import torch

from benchmarks import peers
from benchmarks.peers.images import Images
from benchmarks.peers.networks import Timm, Torchvision
from benchmarks.peers.trainers import Mainstream, Original
from fasttrain import RunConfig
from fasttrain.cli.main import main
from fasttrain.config import fit_to_data
from fasttrain.data.pack import open_splits
from fasttrain.errors import ConfigError
from fasttrain.perf import ceilings
from fasttrain.perf.bench import e2e, rows, step, training_chart
from fasttrain.perf.bench import peers as bench_peers
from fasttrain.perf.bench.contenders import EndToEnd, StepAlone
from fasttrain.perf.bench.e2e import bench_e2e, speedups
from fasttrain.perf.bench.step import bench_step, grid
from fasttrain.train.step import Normalizer
from tests.helpers import make_split

KEYS = ["arch", "head", "batch_size", "precision", "compile", "channels_last", "loader", "name", "images_per_second",
        "step_ms", "compile_seconds", "peak_memory_bytes", "mfu", "status"]
DATA = "synthetic:classes=2,train=6,val=3,size=32"
TINY = {"data": DATA, "image_size": 32, "device": "cpu", "epochs": 2, "lr": 0.1}

# contenders that measure nothing: a module that a worker finds on PYTHONPATH
FAKES = '''
FACTS = {"batch_size": 4, "precision": "fp32", "compile": "off", "channels_last": True, "loader": "constant",
         "compile_seconds": 0.5, "flops_per_image": 10, "matmul_flops": 1000}

class Fake:
    def __init__(self, config, steps=None, folder=None, **_):
        self.facts, self.batch_size, self.calls = FACTS, config["batch_size"], 0
        if self.batch_size == 5:
            raise MemoryError("a batch of 5")

    def measure(self):
        self.calls += 1
        print("noise on standard output")
        return {"seconds": 1 / self.calls, "images": 12, "steps": 3, "peak_memory_bytes": self.calls}


class Broken:
    def __init__(self, **_):
        raise ZeroDivisionError("two\\nlines")
'''


@pytest.fixture
def fakes(tmp_path, monkeypatch):
    """Puts fake contenders in the place of fasttrain's own."""
    (tmp_path / "fake_contenders.py").write_text(FAKES)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(step, "CONTENDER", "fake_contenders:Fake")
    monkeypatch.setattr(e2e, "CONTENDER", "fake_contenders:Fake")
    return tmp_path


@pytest.fixture(autouse=True)
def known_ceiling(monkeypatch):
    """Measuring it takes a second."""
    monkeypatch.setattr(ceilings, "matmul_flops", lambda *_: 1e11)


def shared_config():
    """A tiny RunConfig with numbers in it, its two splits."""
    config = RunConfig(**TINY, batch_size=4)
    train, val = open_splits(config)
    return fit_to_data(config, len(train)), train, val


def test_bench_step_has_a_row_for_each_setting_and_for_what_fails(fakes, figures, tmp_path):
    said = []
    result = bench_step(grid({"device": "cpu"}, {"batch_size": [4, 5]}), steps=3, repeats=3, report=said.append)
    good, oom = result["rows"]
    assert list(good) == list(oom) == KEYS
    assert good["images_per_second"] == {"median": 24, "min": 12, "max": 36}
    assert good["step_ms"]["max"] == pytest.approx(1000 / 3) and good["peak_memory_bytes"] == 3
    assert good["mfu"] == pytest.approx(24 * 10 / 1000) and good["compile_seconds"] == 0.5
    assert (good["status"], oom["status"]) == ("ok", "oom")
    assert oom["mfu"] is None and oom["images_per_second"] == {"median": None, "min": None, "max": None}
    assert oom["precision"] != "auto" and oom["compile"] == "off"  # what `auto` stands for
    assert said[1].endswith("oom: a batch of 5")
    json.dumps(result)
    training_chart.draw(result, tmp_path / "bars.png")
    (axes,) = figures[0].axes
    assert [label.get_text().split(",")[0] for label in axes.get_yticklabels()] == ["batch 4", "batch 5"]
    assert [text.get_text().strip() for text in axes.texts] == ["24.0", "oom"] and axes.get_xlabel() == "images/s"
    assert axes.patches[0].get_width() == 24


def test_bench_e2e_takes_turns_cold_and_warm(fakes, figures, tmp_path, monkeypatch):
    monkeypatch.setattr(peers, "TRAINERS", {"peer": "fake_contenders:Broken"})
    said = []
    result = bench_e2e(RunConfig(**TINY, batch_size=4), rounds=2, peers=True, empty_cache=True, report=said.append)
    names = [row["name"] for row in result["rows"]]
    assert names == [f"{name}, {kind}" for name in ("fasttrain", "peer", "constant batch")
                     for kind in ("cold", "warm")]
    assert [list(row) for row in result["rows"]] == [KEYS] * 6
    cold, warm = result["rows"][:2]
    assert warm["images_per_second"] == {"median": 30, "min": 24, "max": 36}
    assert cold["images_per_second"]["median"] < 12  # from the start of its process
    assert [row["status"] for row in result["rows"][2:4]] == ["error", "error"]
    assert "peer: error: two lines" in said
    turns = [line.split(":")[0] for line in said if "epoch" in line]
    assert turns == ["fasttrain", "constant batch"] * 3
    assert result["speedups"] == [{"over": "constant batch", "median": 1, "min": 1, "max": 1}]
    images = result["environment"]["settings"]["images"]
    assert images["train"]["images"] == 12 and images["val"]["images"] == 6
    training_chart.draw(result, tmp_path / "bars.png")
    (axes,) = figures[0].axes
    assert all(label.get_text().startswith(name) for label, name in zip(axes.get_yticklabels(), names, strict=True))
    assert [text.get_text().strip() for text in axes.texts][1:4] == ["30.0", "error", "error"]


def test_a_short_name_stands_for_arch_and_head():
    made = grid({"device": "cpu"}, {"arch": ["resnet50_maxpool", "resnet18"], "head": ["origin", "dropout"]})
    assert [config.variant for config in made] == ["resnet50_maxpool", "resnet18_origin", "resnet18_dropout"]


def test_speedups_compare_round_by_round():
    def contender(name, *speeds, failure=None):
        return types.SimpleNamespace(name=name, speeds=[1, *speeds], failure=failure)

    found = speedups(contender("a", 10, 30, 20), contender("b", 5, 10, 20), contender("c", 1, failure="oom"))
    assert found == [{"over": "b", "median": 2, "min": 1, "max": 3}]


@pytest.mark.parametrize("flags, code, words", [
    (["step", "--compile", "fancy"], 2, "unknown --compile 'fancy'"),
    (["step", "--device", "cuda"], 2, "no usable GPU"),
    (["step", "--batch-size", "8,8"], 2, "names one value twice"),
    (["step", "--json", "missing/x.json"], 2, "a folder that exists"),
    (["e2e", "--compile", "fancy"], 2, "unknown compile 'fancy'"),
    (["e2e", "--device", "cuda"], 2, "no usable GPU"),
    (["e2e", "--data", "missing"], 3, "no such file or folder"),
    (["e2e", "--rounds", "0"], 2, "--rounds"),
    (["e2e", "--plot", "missing/x.png"], 2, "a folder that exists"),
    (["e2e", "--data", DATA, "--image-size", "32", "--batch-size", "13"], 2, "larger than the data (12 training"),
    (["e2e", "--peers", "--set", "augment.cutout=8", "--data", DATA, "--image-size", "32"], 2, "augment.cutout=0"),
])
@pytest.mark.skipif(torch.cuda.is_available(), reason="asks for a GPU where none is")
def test_bad_input_is_one_line(flags, code, words, capsys):
    assert main(["bench", *flags]) == code
    lines = capsys.readouterr().err.splitlines()
    assert words in lines[-1] and lines[-1].startswith("fasttrain: error: ") and "Traceback" not in "".join(lines)


def test_peers_need_the_source_tree(monkeypatch, tmp_path):
    monkeypatch.setattr(bench_peers.fasttrain, "__file__", str(tmp_path / "fasttrain" / "__init__.py"))
    with pytest.raises(ConfigError, match="from a clone"):
        bench_e2e(RunConfig(**TINY), peers=True)


def test_peers_are_found_from_any_folder(tmp_path):
    code = ("import sys; from fasttrain.perf.bench.peers import load_peers\n"
            "path = list(sys.path); peers = load_peers()\n"
            "assert set(peers.NETWORKS) == {'torchvision', 'timm'} and sys.path == path")
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_contenders_of_fasttrain_measure_what_they_run():
    config = RunConfig(**TINY, batch_size=4, compile="off", precision="fp32").to_dict()
    alone = StepAlone(config, steps=2)
    assert {key: alone.facts[key] for key in ("precision", "loader", "batch_size")} == {
        "precision": "fp32", "loader": "constant", "batch_size": 4}
    found = alone.measure()
    assert found["images"] == 8 and found["steps"] == 2 and found["seconds"] > 0
    whole = EndToEnd(config)
    weights = [p.clone() for p in whole.trainer.step.model.parameters()]
    first = whole.measure()
    assert first["images"] == 12 and first["steps"] == 3 and whole.trainer.step.sums[3] == 6
    assert not any(torch.equal(a, b) for a, b in zip(weights, whole.trainer.step.model.parameters(), strict=True))
    row = rows.training_row(RunConfig(**config), "fasttrain, warm", whole.facts, [first])
    assert list(row) == KEYS and row["mfu"] > 0 and row["loader"] == "resident"


@pytest.mark.parametrize("peer", [Original, Mainstream])
def test_a_peer_starts_from_the_same_weights_and_images_and_trains(peer, tmp_path, monkeypatch):
    monkeypatch.setattr(torch, "compile", lambda model: model)
    monkeypatch.setattr("benchmarks.peers.trainers.MAX_WORKERS", 1)
    config, train, val = shared_config()
    contender = EndToEnd(config.to_dict())
    ours = contender.trainer
    theirs = peer(config.to_dict(), **peers.share(config, train, val, tmp_path))
    for name, tensor in ours.step.model.state_dict().items():
        assert torch.equal(tensor, theirs.model.state_dict()[name]), name
    theirs.evaluate()
    top1 = ours.evaluate(0).sums[1] / len(val)
    assert theirs.val_top1 == pytest.approx(100 * top1, abs=20)  # the decoders differ by a gray level at times
    found = theirs.measure()
    assert found["images"] == len(train) and found["steps"] == 3 and theirs.train_loss > 0
    assert {"compile": "default" if peer is Mainstream else "off", "loader": "files"}.items() <= theirs.facts.items()
    assert set(theirs.facts) == set(contender.facts)


def test_mainstream_goes_on_eager_where_nothing_compiles(tmp_path, monkeypatch):
    def refuse(model):
        def call(images):
            raise torch._dynamo.exc.BackendCompilerFailed(refuse, RuntimeError("no compiler"), None)
        return call

    monkeypatch.setattr(torch, "compile", refuse)
    monkeypatch.setattr("benchmarks.peers.trainers.MAX_WORKERS", 0)
    monkeypatch.setattr(Mainstream, "loader_settings", {})
    config, train, val = shared_config()
    peer = Mainstream(config.to_dict(), **peers.share(config, train, val, tmp_path))
    assert peer.compile == "off" and peer.measure()["images"] == len(train)


@pytest.mark.parametrize("encoded", [True, False])
def test_peers_read_the_pixels_that_fasttrain_trains_on(tmp_path, encoded):
    split = make_split(7, 32)
    if not encoded:
        split = types.SimpleNamespace(**{**vars(split), "jpeg": None, "num_classes": split.num_classes})
    peers.write_images(split, tmp_path)
    images = Images(tmp_path, split.mean, split.std)
    runtime = types.SimpleNamespace(device="cpu", dtype=torch.float32, memory_format=torch.contiguous_format)
    order = sorted(range(7), key=lambda i: (split.labels[i], i))
    expected = Normalizer(split.mean, split.std, runtime)(torch.tensor(split.pixels[split.rows[order]]))
    assert images.labels == split.labels[order].tolist()
    torch.testing.assert_close(torch.stack([image for image, _ in images]), expected, rtol=0, atol=0.05)
    drawn = Images(tmp_path, split.mean, split.std, padding=4, flip=True)
    assert drawn[0][0].shape == (3, 32, 32) and len({drawn[0][0].sum().item() for _ in range(8)}) > 4


def test_other_libraries_networks_run_in_the_same_step(monkeypatch):
    class Net(torch.nn.Sequential):
        def __init__(self, num_classes):
            super().__init__(torch.nn.Conv2d(3, 2, 3, 8), torch.nn.Flatten(), torch.nn.Linear(2 * 16, num_classes))

    config = RunConfig(**TINY, batch_size=4, compile="off").to_dict()
    monkeypatch.setitem(sys.modules, "torchvision.models", types.SimpleNamespace(resnet18=Net))
    monkeypatch.setitem(sys.modules, "timm", types.SimpleNamespace(create_model=lambda arch, **more: Net(**more)))
    for contender in (Torchvision, Timm):
        found = contender(config, steps=1)
        assert isinstance(found.step.model, Net) and found.measure()["images"] == 4


def test_networks_that_are_not_installed_are_left_out(monkeypatch):
    monkeypatch.setattr(peers, "NETWORKS", {"json": "a:B", "surely_absent": "c:D"})
    said = []
    assert step.networks(said.append) == {"json": "a:B"} and said == ["surely_absent: left out, it is not installed"]


def test_utilization_is_of_the_highest_ceiling_measured_for_the_precision():
    made = [{"precision": precision, "mfu": mfu} for precision, mfu in (("fp32", 0.5), ("fp32", 0.9), ("bf16", 0.3))]
    made.append({"precision": "bf16", "mfu": None})
    measured = [types.SimpleNamespace(failure=None, facts={"matmul_flops": flops}) for flops in (100, 50, 200)]
    rows.share_ceilings(made, [*measured, types.SimpleNamespace(failure="oom")])
    assert [row["mfu"] for row in made] == [0.5, 0.45, 0.3, None]


def test_the_table_and_the_lines_name_what_differs(figures, tmp_path):
    facts = {"precision": "fp32", "compile": "off", "channels_last": True, "loader": "constant", "compile_seconds": 0,
             "flops_per_image": 1, "matmul_flops": 1000}
    sample = {"seconds": 1.0, "images": 3, "steps": 1, "peak_memory_bytes": 2**20}
    made = [rows.training_row(RunConfig(), "net", {**facts, "batch_size": size, "channels_last": nhwc}, [sample])
            for size in (8, 16) for nhwc in (True, False)]
    assert rows.labels(made) == ("resnet18_origin, net, fp32, eager, loader constant", [
        f"batch {size}, {layout}" for size in (8, 16) for layout in ("NHWC", "NCHW")])
    assert rows.labels(made, apart=("batch_size",))[1] == ["NHWC", "NCHW"] * 2
    assert rows.labels(made[:1])[1] == ["net"]
    ours = {**made[0], "name": "resnet18_origin"}
    assert rows.labels([ours, made[0]]) == ("resnet18_origin, batch 8, fp32, eager, NHWC, loader constant", [
        "resnet18_origin", "net"])
    asked = RunConfig(batch_size=32, precision="fp32", compile="off", loader="constant").to_dict()
    made.append(rows.make_row(types.SimpleNamespace(name="net", settings={"config": asked},
                                                    failure=types.SimpleNamespace(status="oom")), []))
    result = {"environment": {"cpu": "a CPU", "devices": [{"name": "cpu"}]}, "rows": made}
    training_chart.draw(result, tmp_path / "lines.png")
    (axes,) = figures[0].axes
    assert [text.get_text() for text in figures[0].legends[0].get_texts()] == ["NHWC", "NCHW"]
    assert [list(line[0].get_xdata()) for line in axes.containers] == [[8, 16], [8, 16]]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["8", "16", "32"]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("batch size", "images/s")
