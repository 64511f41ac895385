"""The pictures of a study."""

import dataclasses
import math

import numpy as np
import pytest
from PIL import Image

from fasttrain.registry import ARCHS, HEADS
from fasttrain.study.plots import PLOTS, curves, draw_plots, variants
from fasttrain.study.plots import classes as ablation_classes
from fasttrain.study.plots import points as ablation_points
from fasttrain.study.plots.differences import draw_differences
from tests.study.studies import diverged, draw_small, make_run, make_study


@pytest.fixture(autouse=True)
def figures(monkeypatch):
    """The figures that are saved, by the name of their file; small, since drawing takes most of the time."""
    seen = {}
    draw_small(monkeypatch, seen)
    return seen


def odd(folder):
    """Runs of unequal lengths, one diverged, one hardly begun."""
    return [make_run(folder, epochs=4), make_run(folder, seed=1, epochs=2), make_run(folder, head="dropout", rows=1),
            diverged(make_run(folder, head="maxpool", rows=2))]


def two_recipes(folder):
    return [run for recipe in ("fast", "original") for run in
            make_study(folder, archs=["resnet18"], heads=["origin", "maxpool"], seeds=1, recipe=recipe)]


def many_classes(folder):
    return make_study(folder, names=[f"a rather long name of class {i}, synonym" for i in range(200)], seeds=1)


@pytest.mark.parametrize("study, names", [
    (make_study, PLOTS),
    (lambda folder: [make_run(folder, epochs=1)], ["val_loss", "pareto", "throughput", "costs", "per_class"]),
    (odd, ["train_loss", "val_loss", "pareto", "costs", "confused"]),
    (two_recipes, ["top1", "pareto", "throughput", "costs"]),
    (many_classes, ["per_class", "confused"]),
], ids=["six variants", "one epoch", "odd", "two recipes", "200 classes"])
def test_all_is_drawn_and_no_text_is_cut_off_or_runs_into_another(study, names, figures, tmp_path):
    study = variants.by_variant(study(tmp_path), {})
    for name in names:
        path = tmp_path / f"{name}.png"
        assert len(PLOTS[name][1](study, path)) > 20
        with Image.open(path) as picture:
            assert len(picture.convert("L").getcolors()) > 10
        figure = figures[name]
        boxes = [part.get_tightbbox() for part in (*figure.axes, *figure.legends, *figure.texts)]
        for number, box in enumerate(boxes):
            inside = box.x0 >= -1 and box.y0 >= -1 and box.x1 <= figure.bbox.x1 + 1 and box.y1 <= figure.bbox.y1 + 1
            assert inside, (name, number, box)
            assert box.padded(-2).count_overlaps([other.padded(-2) for other in boxes[:number]]) == 0, (name, number)


def test_a_curve_ends_where_its_run_ends_and_the_mean_where_the_first_seed_does(figures, tmp_path):
    runs = [make_run(tmp_path, seed=0, epochs=4), make_run(tmp_path, seed=1, epochs=2)]
    curves.draw_val_loss(variants.by_variant(runs, {}), tmp_path / "val_loss.png")
    first, second, mean = figures["val_loss"].axes[0].lines[:3]
    assert list(first.get_xdata()) == [1, 2, 3, 4] and list(second.get_xdata()) == [1, 2]
    assert list(mean.get_xdata()) == [1, 2] and list(mean.get_ydata()) == [2, 1]
    assert mean.get_linewidth() > 2 * first.get_linewidth()


def test_runs_that_did_not_finish_are_drawn_but_count_in_no_mean(figures, tmp_path):
    runs = [make_run(tmp_path, seed=0), make_run(tmp_path, seed=1), make_run(tmp_path, seed=5, rows=1)]
    curves.draw_macro_f1(variants.by_variant(runs, {}), tmp_path / "macro_f1.png")
    *seeds, mean = figures["macro_f1"].axes[0].lines[:4]
    assert [len(line.get_xdata()) for line in seeds] == [4, 4, 1]
    np.testing.assert_allclose(mean.get_ydata(), (seeds[0].get_ydata() + np.array(seeds[1].get_ydata())) / 2)


def test_heads_differ_in_colour_line_and_marker_and_backbones_in_filling():
    looks = [variants.Variant("fast", arch, head).look for arch in ARCHS.names() for head in HEADS.names()]
    for kind in ("color", "linestyle", "marker", "hatch"):
        assert len({getattr(look, kind) for look in looks}) == len(HEADS.names())
    assert len({look.fill for look in looks}) == len(ARCHS.names())


def test_the_sizes_that_epochs_trained_at_are_bands_in_every_panel(figures, tmp_path):
    runs = make_study(tmp_path, heads=["origin", "maxpool"], seeds=1)
    for run in runs:
        for row, size in zip(run.rows, (32, 48, 48, 64), strict=True):
            row["train_image_size"] = size
    PLOTS["top1"][1](variants.by_variant(runs, {}), tmp_path / "top1.png")
    assert len(figures["top1"].axes) == 4
    for axes in figures["top1"].axes:
        assert [text.get_text() for text in axes.texts] == ["32 px", "48 px", "64 px"]
        assert [band.get_x() + band.get_width() for band in axes.patches] == [1.5, axes.get_xlim()[1]]


def test_in_one_picture_no_two_variants_of_several_recipes_look_alike(tmp_path):
    runs = [run for recipe in ("fast", "original") for run in make_study(tmp_path, seeds=1, recipe=recipe)]
    looks = variants.looks(variants.by_variant(runs, {}))
    assert len({(look.marker, look.fill) for look in looks.values()}) == len(looks) == 12


def test_raw_losses_come_from_the_event_files_in_epochs_without_what_lies_behind_the_end(tmp_path):
    from torch.utils.tensorboard import SummaryWriter

    run = make_run(tmp_path, epochs=2)
    with SummaryWriter(run.folder / "tb") as writer:
        for step, loss in ((5, 2.0), (10, 1.5), (20, 1.0), (30, 0.5)):
            writer.add_scalar("steps/train_loss", loss, step)
            writer.add_scalar("steps/lr", 0.1, step)
    epochs, losses = curves.step_losses(run)
    assert epochs.tolist() == [0.5, 1.0, 2.0] and losses.tolist() == [2.0, 1.5, 1.0]


def test_without_or_with_damaged_event_files_there_are_no_raw_losses(tmp_path):
    run = make_run(tmp_path)
    assert [len(part) for part in curves.step_losses(run)] == [0, 0]
    (run.folder / "tb").mkdir()
    (run.folder / "tb" / "events.out.tfevents.1").write_bytes(b"no events at all, only text")
    assert [len(part) for part in curves.step_losses(run)] == [0, 0]


def test_the_front_is_what_nothing_beats():
    points = [(3, 50), (1, 40), (2, 30), (3, 60), (5, 60), (0.5, math.nan)]
    assert ablation_points.pareto_front(points) == [(1, 40), (3, 60)]
    assert ablation_points.pareto_front([]) == []


def test_runs_without_predictions_or_of_other_classes_are_left_out_of_the_classes(tmp_path):
    runs = make_study(tmp_path, archs=["resnet18"])
    (runs[0].folder / "predictions.npy").unlink()
    other = make_run(tmp_path, arch="resnet50", names=["x", "y"])
    found, classes = ablation_classes.confusions(variants.by_variant([*runs, other], {}))
    assert [variant.head for variant in found] == ["origin", "maxpool", "dropout"]
    assert [matrix.sum() for matrix in found.values()] == [20, 40, 40]
    assert len(classes) == 4
    for run in runs:
        (run.folder / "predictions.npy").unlink(missing_ok=True)
    (tmp_path / "confused.png").write_bytes(b"of an earlier report")
    names = [plot.file for plot in draw_plots(runs[:1], tmp_path, {})]
    assert not (tmp_path / "confused.png").exists()
    assert "per_class.png" not in names and "confused.png" not in names and len(names) == len(PLOTS) - 2


def test_recipes_are_called_what_the_caller_calls_them(tmp_path):
    runs = [make_run(tmp_path, epochs=2), make_run(tmp_path, head="maxpool")]
    study = variants.by_variant(runs, {str(runs[0].folder): "fast (epochs 2)"})
    assert list(variants.labels(study).values()) == ["resnet18 maxpool, fast", "resnet18 origin, fast (epochs 2)"]
    assert [title for title, _ in variants.panels(study)] == ["resnet18, fast", "resnet18, fast (epochs 2)"]


def test_no_marker_of_equal_cost_hides_another(figures, tmp_path):
    study = variants.by_variant(make_study(tmp_path, archs=["resnet18"], seeds=1), {})
    for runs in study.values():
        runs[0].final["val_top1"] = 50.0
    ablation_points.draw_costs(study, tmp_path / "costs.png")
    for axes in figures["costs"].axes:
        marks = [line for line in axes.lines if line.get_marker() in ("o", "s", "^")]
        places = [line.get_transform().transform(line.get_xydata())[0] for line in marks]
        assert len(places) == 3
        assert min(abs(a[0] - b[0]) for n, a in enumerate(places) for b in places[:n]) > 8 * figures["costs"].dpi / 72


def test_costs_that_no_rule_counts_are_not_drawn_and_are_named(figures, monkeypatch, tmp_path):
    study = variants.by_variant(make_study(tmp_path, archs=["resnet18"], heads=["origin", "maxpool"], seeds=1), {})
    known = ablation_points.summarize_once

    def summarize(arch, head, *more):
        found = known(arch, head, *more)
        own = dataclasses.replace(found.calls[0], kind="MyLayer", madd=None, flops=None, mem_read=None, mem_write=None)
        return dataclasses.replace(found, calls=[*found.calls, own]) if head == "maxpool" else found

    monkeypatch.setattr(ablation_points, "summarize_once", summarize)
    caption = ablation_points.draw_costs(study, tmp_path / "costs.png")
    assert "resnet18 maxpool (MyLayer)" in caption and "origin (" not in caption
    assert [sum(line.get_marker() == "s" for line in axes.lines) for axes in figures["costs"].axes] == [1, 0, 0]


def test_differences_stand_where_their_numbers_are_and_wide_intervals_end_in_arrows(figures, tmp_path):
    row = {"question": "1. Average or max pooling?", "metric": "val_top1", "recipe": "fast", "a": "origin",
           "b": "maxpool", "difference": 2.0, "low": 1.0, "high": 3.0, "method": "paired t over seeds", "verdict": "a",
           "settled": "a", "sentence": "avg beats max."}
    rows = [row | {"arch": "resnet18"}, row | {"arch": "resnet50", "low": -90.0, "high": 94.0, "settled": "open"},
            row | {"arch": "resnet18", "metric": "val_loss"}]
    assert draw_differences(rows, tmp_path / "differences.png")
    zero, interval, mean, *others = figures["differences"].axes[0].lines
    assert list(zero.get_xdata()) == [0, 0] and list(interval.get_xdata()) == [1, 3] and list(mean.get_xdata()) == [2]
    assert [line.get_marker() for line in others if line.get_marker() in "<>"] == ["<", ">"]
    assert others[-1].get_markerfacecolor() == "white" != mean.get_markerfacecolor()
    assert draw_differences(rows[2:], tmp_path / "differences.png") is None
