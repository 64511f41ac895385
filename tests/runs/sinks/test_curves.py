import math

import pytest
from PIL import Image

from fasttrain import plotting
from fasttrain.runs.sinks import curves, pictures
from fasttrain.train.rows import COLUMNS
from fasttrain.train.schedules import learning_rate


@pytest.fixture
def figures(monkeypatch):
    """The figures that are saved, by path."""
    seen = []
    save = plotting.save
    monkeypatch.setattr(curves, "save", lambda figure, *args: (seen.append(figure), save(figure, *args)))
    return seen


def rows(epochs):
    return [{key: 0.5 * epoch for key in COLUMNS} | {"epoch": epoch, "train_image_size": 64}
            for epoch in range(1, epochs + 1)]


@pytest.mark.parametrize("epochs", [1, 2, 300])
def test_six_panels_of_the_stated_size_with_a_point_for_each_row_and_no_more(epochs, figures, tmp_path):
    curves.draw_results(rows(epochs), tmp_path / "results.png", "a run")
    with Image.open(tmp_path / "results.png") as picture:
        assert picture.size == (1600, 960)
        assert len(picture.convert("L").getcolors()) > 20
    assert len(figures[0].axes) == 6
    loss = figures[0].axes[0]
    assert [list(line.get_xdata()) for line in loss.lines[:2]] == 2 * [list(range(1, epochs + 1))]
    assert loss.lines[0].get_color() != loss.lines[1].get_color()
    assert loss.lines[0].get_linestyle() != loss.lines[1].get_linestyle()
    assert list(loss.lines[2].get_xdata()) == [epochs, epochs]  # the best epoch


def test_the_learning_rate_is_drawn_step_by_step_from_its_warm_up_on(fabricated, figures, tmp_path):
    start = fabricated.start(tmp_path, epochs=4)
    rates = pictures.rates(start, 2)
    assert len(rates) == 2 * fabricated.steps
    assert rates[0] == (0.5 / fabricated.steps, learning_rate(start.config, 0, fabricated.steps))
    curves.draw_results(rows(2), tmp_path / "results.png", "a run", rates)
    [line] = figures[0].axes[4].lines
    assert list(zip(line.get_xdata(), line.get_ydata(), strict=True)) == rates
    low, high = figures[0].axes[4].get_ylim()
    assert low == 0 and high > max(rate for _, rate in rates)
    assert figures[0].axes[4].get_xlim()[0] == 0


def test_a_long_runs_rates_are_thinned(fabricated, tmp_path):
    assert len(pictures.rates(fabricated.start(tmp_path, epochs=1000), 1000)) < 2 * pictures.RATES_SHOWN


def test_sizes_are_bands_from_half_an_epoch_before_to_half_an_epoch_behind(figures, tmp_path):
    sized = [row | {"train_image_size": size} for row, size in zip(rows(4), (32, 32, 48, 64), strict=True)]
    curves.draw_results(sized, tmp_path / "results.png", "a run")
    for axes in figures[0].axes:
        assert [text.get_text() for text in axes.texts] == ["32 px", "48 px", "64 px"]
        assert [band.get_x() + band.get_width() for band in axes.patches] == [2.5, axes.get_xlim()[1]]
    curves.draw_results(rows(4), tmp_path / "results.png", "a run")
    assert not any(axes.texts or axes.patches for axes in figures[1].axes)


def test_nan_leaves_a_gap_and_the_best_epoch_is_marked_elsewhere(figures, tmp_path):
    table = rows(4)
    table[3].update({key: math.nan for key in COLUMNS if key.startswith(("train", "val"))})
    curves.draw_results(table, tmp_path / "results.png", "a run")
    loss = figures[0].axes[0]
    assert math.isnan(loss.lines[1].get_ydata()[3])
    assert loss.lines[2].get_xdata()[0] == 3


@pytest.mark.parametrize("highest, scale", [(7.0, "linear"), (65_260.0, "log")])
def test_one_epoch_that_blew_up_does_not_flatten_the_others(highest, scale, figures, tmp_path):
    curves.draw_results([rows(1)[0] | {"val_loss": highest}, *rows(3)[1:]], tmp_path / "results.png", "a run")
    assert figures[0].axes[0].get_yscale() == scale


def test_a_run_of_nan_alone_is_drawn_too(figures, tmp_path):
    row = dict.fromkeys(COLUMNS, math.nan) | {"epoch": 1, "train_image_size": 64}
    curves.draw_results([row], tmp_path / "results.png", "a run")
    assert (tmp_path / "results.png").stat().st_size > 10_000


def test_no_text_is_cut_off_or_runs_into_another(figures, tmp_path):
    table = [row | {"images_per_second": 312_345.6, "lr": 1.2e-7} for row in rows(30)]
    curves.draw_results(table, tmp_path / "results.png", "resnet50_dropout, recipe fast, 100,000 images, batch 512")
    figure = figures[0]
    boxes = [part.get_tightbbox() for part in (*figure.axes, *figure.legends, *figure.texts)]
    assert len(boxes) == 8
    for number, box in enumerate(boxes):
        assert box.x0 >= 0 and box.y0 >= 0 and box.x1 <= figure.bbox.x1 and box.y1 <= figure.bbox.y1
        assert box.count_overlaps(boxes[:number]) == 0


def test_equal_rows_give_equal_bytes(tmp_path):
    for name in ("a.png", "b.png"):
        curves.draw_results(rows(3), tmp_path / name, "a run")
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
