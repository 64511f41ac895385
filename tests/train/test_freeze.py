"""`--freeze`: what is frozen stays to the bit in every form of the step, and costs no gradient and no state."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from fasttrain import RunConfig, load_run, run
from fasttrain.cli.main import main
from fasttrain.config import fit_to_data
from fasttrain.errors import ConfigError, Interrupted
from fasttrain.models.freeze import Still, freeze
from fasttrain.processes import ALONE, joined
from fasttrain.runtime import resolve
from fasttrain.train.checkpoint import Checkpoints
from fasttrain.train.compile import warm_up
from fasttrain.train.events import EventLog
from fasttrain.train.recalibrate import recalibrate
from fasttrain.train.trainer import Trainer
from tests.helpers import make_split
from tests.models.test_own import Stop
from tests.ranks import run_ranks
from tests.train.steps import EXTRAS, hold, make_batch, make_step, no_warning

SMALL = f"{Path(__file__).parents[2] / 'examples' / 'own_network.py'}:small"
PLAIN = {"arch": SMALL, "image_size": 32, "device": "cpu", "precision": "fp32", "compile": "off", "threads": 1,
         "lr": 0.1, "epochs": 2}
FIRST = "0.*,1.*"  # of `network`


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 7, 8, 3, bias=False), nn.BatchNorm2d(4), nn.ReLU(),
                         nn.Conv2d(4, 4, 3, 2, 1, bias=False), nn.BatchNorm2d(4), nn.Conv2d(4, 4, 3, 1, 1, bias=False),
                         nn.Flatten(), nn.Linear(4 * 4, 3))


def frozen_network():
    model = network()
    freeze(model, FIRST)
    return model


@pytest.mark.parametrize("optimizer", [{"name": "sgd"}, {"name": "adamw"}, {"name": "muon"}], ids=lambda o: o["name"])
@pytest.mark.parametrize("form", ["eager", "compiled", "captured"])
def test_every_form_of_the_step_leaves_it_to_the_bit(optimizer, form, traced, graphs):
    changes = {"compile": "off" if form == "eager" else "default", "optimizer": optimizer, **EXTRAS}
    step = make_step(graphs=form == "captured", network=frozen_network, **changes)
    before = {name: tensor.clone() for name, tensor in step.model.state_dict().items()}
    warm_up(step, [make_batch()], make_batch(), no_warning)
    if form == "captured":
        hold(step)
    for number in range(3):
        step.train(make_batch(), 0.05, number, 0)
    step.evaluate(make_batch())
    step.train(make_batch(), 0.05, 3, 0)
    for model in (step.model, step.ema.model):
        still = {name for name, tensor in model.state_dict().items() if torch.equal(tensor, before[name])}
        assert still == {"0.weight", "1.weight", "1.bias", "1.running_mean", "1.running_var"}
    frozen = [*step.model[0].parameters(), *step.model[1].parameters()]
    assert all(parameter.grad is None and not step.optimizer.state.get(parameter) for parameter in frozen)
    assert set(map(id, step.optimizer.state)) == set(map(id, step.model.parameters())) - set(map(id, frozen))


def test_muon_takes_the_first_convolution_of_the_network_for_the_first_even_where_that_is_frozen():
    step = make_step(network=frozen_network, optimizer={"name": "muon"})
    [inside] = [group for group in step.optimizer.param_groups if group["iterations"]]
    assert list(map(id, inside["params"])) == [id(step.model[3].weight), id(step.model[5].weight)]


def test_a_norm_keeps_its_statistics_where_its_module_is_frozen_whole_and_only_there():
    model = nn.Sequential(nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4, affine=False)), nn.BatchNorm2d(4))
    freeze(model, "0.*,1.weight")
    model.train()
    model(torch.randn(2, 3, 8, 8))
    assert isinstance(model[0][1], Still) and not model[0][1].running_mean.any()
    assert not isinstance(model[1], Still) and model[1].running_mean.any()
    assert model.eval().train()[0][1].training is False


def test_statistics_that_are_taken_anew_leave_it():
    step = make_step(network=frozen_network)
    recalibrate(step, [make_batch()])
    assert not step.model[1].running_mean.any() and step.model[4].running_mean.any()


def trained(folder, processes=ALONE, **changes):
    """The weights of a run before and after it."""
    train, val = make_split(18, 32), make_split(7, 32, name="val")
    config = fit_to_data(RunConfig(**{**PLAIN, "head": "maxpool", "batch_size": 6, "freeze": "net.0.*,net.1.*",
                                      **changes}), len(train))
    trainer = Trainer(config, resolve(config), train, val, Checkpoints(folder), EventLog(), processes)
    before = numbers(trainer.step.model)
    trainer.fit()
    return before, numbers(trainer.step.model)


def numbers(model):
    return {name: tensor.numpy().copy() for name, tensor in model.state_dict().items()}


def in_a_process(folder, changes):
    with joined(RunConfig(**PLAIN)) as processes:
        return trained(folder, processes, **changes)


@pytest.mark.parametrize("size, changes", [(1, {"shards": 3}), (2, {}), (2, {"sync_bn": True})])
def test_slices_and_processes_leave_it_to_the_bit(size, changes, tmp_path):
    ends = run_ranks(size, in_a_process, tmp_path, changes) if size > 1 else [trained(tmp_path, **changes)]
    for before, after in ends:
        moved = {name for name in before if not np.array_equal(before[name], after[name])}
        assert not {name for name in moved if name.startswith(("net.0.", "net.1."))}
        assert {"net.3.weight", "net.4.running_mean", "fc.weight"} <= moved
    assert all(np.array_equal(value, ends[-1][1][name]) for name, value in ends[0][1].items())


def test_a_resumed_run_ends_as_one_that_was_never_stopped(tmp_path, capsys):
    def config(folder):
        return RunConfig(**PLAIN, head="maxpool", batch_size=8, data="synthetic:classes=3,train=8,val=4,size=32",
                         optimizer={"name": "muon"}, ema=0.5, freeze="net.0.*", out=str(folder))

    straight = run(config(tmp_path / "straight"))
    with pytest.raises(Interrupted):
        run(config(tmp_path / "parts"), callbacks=[Stop()])
    parts = run(config(tmp_path / "parts").replace(resume="auto"))
    assert [row["val_loss"] for row in parts.rows] == [row["val_loss"] for row in straight.rows]
    assert "freeze: 23,459 parameters are trained" in load_run(tmp_path / "parts").facts["notes"]
    with pytest.raises(ConfigError, match="was started with freeze"):
        run(config(tmp_path / "parts").replace(resume="auto", freeze="net.3.*", epochs=3))


@pytest.mark.parametrize("pattern, text", [
    ("layer1", "'layer1' matches no parameter: did you mean 'layer1.*'"),
    ("conv1.*,layer9.*", "'layer9.*' matches no parameter: did you mean 'layer"),
    ("stem", "did you mean 'conv1.*' or 'bn1.*' or 'layer1.*'"),
    ("*", "freeze: * leaves no parameter to train"),
    ("conv1.*,", "freeze: needs a value that is not empty"),
])
@pytest.mark.parametrize("flag", ["--freeze={}", "--set=freeze={}"])
def test_a_pattern_that_cannot_work_is_one_line_and_leaves_nothing(pattern, text, flag, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    words = ["run", flag.format(pattern), "--data", "synthetic:classes=3,train=8,val=4,size=32", "--image-size", "32"]
    assert main(words) == 2
    error = capsys.readouterr().err
    assert text in error and error.count("\n") == 1 and not (tmp_path / "runs").exists()


def test_patterns_that_are_no_yaml_are_taken_as_they_are():
    assert RunConfig.load(sets=["freeze=*.bias, layer?.*"]).freeze == "*.bias,layer?.*"
