"""A head that is one class and one line of the registry is in the plan, the tables and the pictures of a study."""

import sys
import types

import pytest

from fasttrain.models.heads import OriginHead
from fasttrain.registry import HEADS
from fasttrain.runs.run import load_run
from fasttrain.study import pages, tables
from fasttrain.study.analysis.ablation import build_ablation
from fasttrain.study.plan import names, plan
from fasttrain.study.plots import draw_plots
from tests.study.fabricate import make_study, predictions
from tests.study.studies import draw_small

FINALS = {"origin": (85, 86), "maxpool": (82, 83), "dropout": (80, 81), "toy": (90, 91)}


class ToyHead(OriginHead):
    """Average over space, under another name.

    More on it that no table shows.
    """


@pytest.fixture
def runs(monkeypatch, tmp_path):
    """The runs of one backbone with all heads, the new one among them."""
    module = types.ModuleType("toy_head")
    module.ToyHead = ToyHead
    monkeypatch.setitem(sys.modules, "toy_head", module)
    monkeypatch.setitem(HEADS.entries, "toy", "toy_head:ToyHead")
    folders = make_study(tmp_path, {("resnet18", head): top1 for head, top1 in FINALS.items()}, seeds=2,
                         table=predictions(85))
    return [load_run(folder) for folder in folders]


def test_ablate_trains_it_by_default(runs):
    planned = plan(["resnet18"], names("heads", None), ["fast"], 1, "study")
    assert [config.variant for config in planned] == [f"resnet18_{head}" for head in FINALS]


def test_the_tables_show_it_and_the_questions_stay_those_of_the_original(runs, tmp_path):
    ablation = build_ablation(runs)
    (main, _) = tables.results(ablation)
    assert {row["variant"]: row["cells"][0]["mean"] for row in main["rows"]}["resnet18 toy"] == "90.5"
    assert dict(tables.heads(ablation))["toy"] == "Average over space, under another name"
    assert "toy" in {row["head"] for row in ablation["variants"]}
    without = build_ablation([run for run in runs if run.config.head != "toy"])
    for part in ("comparisons", "answers", "claims"):
        assert ablation[part] == without[part]


def test_the_pictures_show_it_with_a_look_of_its_own(runs, tmp_path, monkeypatch):
    figures = {}
    draw_small(monkeypatch, figures)
    draw_plots(runs, tmp_path, {})
    for name in ("train_loss", "val_loss", "top1", "top5", "macro_f1", "pareto", "costs", "confused"):
        (legend,) = figures[name].legends
        told = [text.get_text() for text in legend.get_texts()]
        assert "toy" in told or "resnet18 toy" in told, name
    means = [line for line in figures["val_loss"].axes[0].lines if line.get_linewidth() > 2]
    assert len(means) == len({line.get_color() for line in means}) == len(FINALS)
    (panel,) = figures["pareto"].axes
    ends = [line.get_marker() for line in panel.lines if len(line.get_xdata()) == 1]
    assert len(ends) == len(set(ends)) == len(FINALS)
    for name in ("throughput", "per_class"):
        assert "resnet18 toy" in [label.get_text() for label in figures[name].axes[0].get_yticklabels()]
    report = pages.write_report(build_ablation(runs), runs, tmp_path / "report")
    assert "resnet18 toy" in (report / "report.md").read_text()
