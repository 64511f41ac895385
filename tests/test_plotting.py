"""The picture toolkit: looks that tell series apart, bars, bands, legends."""

import numpy as np
import pytest

from fasttrain import plotting


@pytest.fixture
def axes():
    return plotting.new_figure(6, 4, "a title").subplots()


def test_looks_tell_series_apart_by_marker_and_by_colour_with_line():
    looks = [plotting.look(place) for place in range(42)]
    assert len({look.marker for look in looks[:14]}) == 14
    assert len({(look.color, str(look.linestyle)) for look in looks}) == 42
    assert len({plotting.look(0, group).fill for group in range(6)}) == 6


def test_every_look_can_be_drawn(axes, tmp_path):
    for place in range(42):
        look = plotting.look(place, place)
        axes.plot([0, 1], [place, place], **look.line)
        axes.plot([0.5], [place], **look.markers)
        axes.barh([place], [1], **look.bar)
    plotting.save(axes.figure, tmp_path / "looks.png")
    assert len(axes.lines) == 84


def test_bars_have_the_first_on_top_and_their_texts_behind_the_whiskers(axes):
    plotting.draw_bars(axes, ["a", "$b"], [3, 2], ["three", "two"], unit="images/s", whiskers=[[1, 1], [0.5, 4]])
    top, bottom = sorted(axes.patches, key=lambda bar: axes.transData.transform((0, bar.get_y()))[1], reverse=True)
    assert (top.get_width(), bottom.get_width()) == (3, 2)
    assert [(text.get_text(), *text.xy) for text in axes.texts] == [("three", 3.5, 0), ("two", 6, 1)]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["a", "$b"]
    assert axes.get_xlabel() == "images/s" and axes.get_xlim()[0] == 0 and axes.get_xlim()[1] > 6


def test_bars_on_a_logarithmic_axis_leave_room_on_both_sides(axes):
    plotting.draw_bars(axes, ["a", "b"], [1000, 10], ["1k", "10"], log=True)
    low, high = axes.get_xlim()
    assert axes.get_xscale() == "log" and low < 10 and high > 1000


@pytest.mark.parametrize("values", [[], [0.0, 0.0]])
def test_bars_of_nothing_are_drawn(axes, values):
    plotting.draw_bars(axes, [str(value) for value in values], values, room=6)
    assert axes.get_xlim() == (0, 1) and np.ptp(axes.get_ylim()) > 6


def test_a_legend_reads_row_by_row(axes):
    plotting.legend_below(axes.figure, [plotting.handle(name, color="0") for name in "abcde"], columns=3)
    (legend,) = axes.figure.legends
    # matplotlib fills columns: a and d stand in the first, b and e in the second, c in the third
    assert [text.get_text() for text in legend.get_texts()] == ["a", "d", "b", "e", "c"]


def test_cells_are_readable_on_their_colour_and_unknown_ones_say_so(axes):
    plotting.write_cells(axes, np.array([[80.0, 10.0], [np.nan, 55.0]]), ".0f", bright=55)
    dark, bright = plotting.ON_BRIGHT, plotting.ON_DARK
    assert [(text.get_text(), text.get_color()) for text in axes.texts] == [
        ("80", dark), ("10", bright), ("-", bright), ("55", bright)]
