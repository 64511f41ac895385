import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.backend.event_processing.plugin_event_multiplexer import EventMultiplexer
from torch.utils.tensorboard import SummaryWriter

from fasttrain.runs.sinks.files import FilesSink
from fasttrain.runs.sinks.pictures import PicturesSink
from fasttrain.runs.sinks.tensorboard import FINAL_TAGS, POINTS_PER_EPOCH, STEP_TAGS, TAGS, TensorBoardSink


def sinks(folder):
    return [FilesSink(folder), TensorBoardSink(folder)]


def read(folder):
    events = EventAccumulator(str(folder), size_guidance={"scalars": 0, "images": 0})
    events.Reload()
    return events


def steps_of(events, tag):
    return [event.step for event in events.Scalars(tag)]


def network():
    return torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4), torch.nn.Dropout(0.5))


def test_the_event_file_holds_scalars_hyperparameters_graph_and_pictures(fabricated, tmp_path):
    start = fabricated.start(tmp_path, epochs=3,
                             model_for_graph=(network(), torch.zeros(1, 3, 8, 8)))
    rows = fabricated.play([*sinks(tmp_path), PicturesSink(tmp_path)], start)
    events = read(tmp_path)
    mirrored = {tags["val_top1_tta"] for tags in (TAGS, FINAL_TAGS)}  # of runs that ask for it
    assert set(events.Tags()["scalars"]) == {*TAGS.values(), *STEP_TAGS.values(), *FINAL_TAGS.values()} - mirrored
    assert [event.value for event in events.Scalars("top1/val")] == [row["val_top1"] for row in rows]
    assert steps_of(events, "loss/train") == steps_of(events, "loss/val") == [1, 2, 3]
    assert steps_of(events, "steps/train_loss") == list(range(1, 3 * fabricated.steps + 1))
    assert events.Tags()["images"] == [f"pictures/{name}" for name in ("results", "confusion", "per_class", "mistakes")]
    assert events.Images("pictures/results")[0].encoded_image_string == (tmp_path / "results.png").read_bytes()
    assert events.Tags()["graph"]
    assert {"_hparams_/session_start_info", "_hparams_/session_end_info"} <= set(events.summary_metadata)
    assert [path.name for path in tmp_path.iterdir() if path.is_dir()] == []


def test_a_resumed_run_has_no_doubled_point(fabricated, tmp_path):
    start = fabricated.start(tmp_path, epochs=5,
                             model_for_graph=(network(), torch.zeros(1, 3, 8, 8)))
    fabricated.play(sinks(tmp_path), start, until=3)
    fabricated.play(sinks(tmp_path), fabricated.start(tmp_path, epochs=5, resumed_from=2))
    events = read(tmp_path)
    assert sorted(steps_of(events, "loss/val")) == [1, 2, 3, 4, 5]
    assert sorted(steps_of(events, "steps/lr")) == list(range(1, 5 * fabricated.steps + 1))
    assert steps_of(events, "val_best/top1") == [5]
    assert events.Tags()["graph"]


def test_a_run_is_named_by_its_folder_and_charts_of_one_dot_come_last(fabricated, tmp_path):
    folder = tmp_path / "runs" / "resnet18_origin" / "1"
    folder.mkdir(parents=True)
    fabricated.play([TensorBoardSink(folder)], fabricated.start(folder, epochs=2))
    runs = EventMultiplexer().AddRunsFromDirectory(str(tmp_path / "runs")).Reload()
    assert list(runs.Runs()) == ["resnet18_origin/1"]
    groups = [tag.split("/")[0] for tag in sorted(read(folder).Tags()["scalars"])]
    assert {tag.split("/")[0] for tag in FINAL_TAGS.values()} == {groups[-1]}


def test_a_run_of_version_0_1_goes_on_in_its_folder_without_its_old_final_values(fabricated, tmp_path):
    (tmp_path / "tb").mkdir()
    with SummaryWriter(tmp_path / "tb") as writer:
        writer.add_scalar("best/top1", 9.0, 1)
        writer.add_scalar("loss/val", 3.5, 1)
    fabricated.play([TensorBoardSink(tmp_path)], fabricated.start(tmp_path, epochs=2, resumed_from=1))
    events = read(tmp_path / "tb")
    # two files of one second are read in the order of a counter that is sorted as text
    assert sorted(steps_of(events, "loss/val")) == [1, 2] and "best/top1" not in events.Tags()["scalars"]
    assert not list(tmp_path.glob("events*"))


def test_tracing_leaves_the_model_and_the_random_numbers_alone(fabricated, tmp_path):
    model = network().train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    state = torch.get_rng_state()
    start = fabricated.start(tmp_path, epochs=1,
                             model_for_graph=(model, torch.ones(1, 3, 8, 8)))
    fabricated.play([TensorBoardSink(tmp_path)], start)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(module.training for module in model.modules())
    assert torch.equal(torch.get_rng_state(), state)


def test_a_network_that_cannot_be_traced_costs_one_line(fabricated, tmp_path, capsys):
    start = fabricated.start(tmp_path, epochs=1,
                             model_for_graph=(network(), torch.zeros(1, 5, 8, 8)))
    fabricated.play([TensorBoardSink(tmp_path)], start)
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1 and err.startswith("warning: TensorBoard gets no graph")
    assert steps_of(read(tmp_path), "loss/val") == [1]


def test_nan_makes_a_gap(fabricated, tmp_path):
    fabricated.play([TensorBoardSink(tmp_path)], fabricated.start(tmp_path, epochs=3),
                    row=lambda epoch: fabricated.row(epoch) | ({"val_loss": fabricated.nan} if epoch == 2 else {}))
    assert steps_of(read(tmp_path), "loss/val") == [1, 3]


@pytest.mark.parametrize("steps", [1, POINTS_PER_EPOCH, 10 * POINTS_PER_EPOCH + 1])
def test_long_epochs_are_thinned(steps, fabricated, tmp_path):
    sink = TensorBoardSink(tmp_path)
    sink.start(fabricated.start(tmp_path, epochs=1))
    sink.epoch(fabricated.epoch(fabricated.row(1), steps=steps))
    sink.close()
    written = steps_of(read(tmp_path), "steps/train_loss")
    assert written[0] == 1 and min(steps, POINTS_PER_EPOCH) // 2 < len(written) <= POINTS_PER_EPOCH
