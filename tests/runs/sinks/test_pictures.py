import numpy as np
import pytest
from PIL import Image

from fasttrain import format
from fasttrain.data import mosaic
from fasttrain.runs.sinks import confusion


def matrix_of(classes):
    return np.random.default_rng(0).multinomial(50, np.ones(classes) / classes, size=classes)


@pytest.mark.parametrize("letter", "êéñøßЖλ")
def test_the_font_of_mosaics_has_the_letters_of_class_names(letter):
    font = mosaic.font_of(14)
    assert bytes(font.getmask(letter)) != bytes(font.getmask("\uffff"))


@pytest.mark.parametrize("classes", [2, 12, 31, 200])
def test_confusion_and_per_class_are_drawn_for_any_number_of_classes(classes, tmp_path):
    names = [r"$\frac$", *(f"a rather long name of class {i}, with a synonym" for i in range(1, classes))]
    confusion.draw_confusion(matrix_of(classes), names, tmp_path / "confusion.png", "confusion")
    confusion.draw_per_class(matrix_of(classes), names, tmp_path / "per_class.png")
    with Image.open(tmp_path / "confusion.png") as picture:
        assert picture.size == (1625, 875)
    with Image.open(tmp_path / "per_class.png") as picture:
        assert picture.size[0] >= 1120 and len(picture.convert("L").getcolors()) > 20


def test_pairs_are_named_by_direction_with_counts_most_first():
    matrix = np.array([[5, 3, 0], [7, 1, 0], [0, 3, 9]])
    assert confusion.confused_pairs(matrix) == [(1, 0, 7), (0, 1, 3), (2, 1, 3)]
    assert confusion.confused_pairs(matrix, count=1) == [(1, 0, 7)]
    assert confusion.confused_pairs(np.eye(3, dtype=int)) == []
    assert matrix[0, 0] == 5  # the diagonal of the caller's matrix is as it was


def test_accuracy_of_a_class_without_images_is_nan():
    accuracy = confusion.class_accuracy([[3, 1], [0, 0]])
    assert accuracy[0] == 75 and np.isnan(accuracy[1])


@pytest.fixture
def figures(monkeypatch):
    """The figures that are saved, in order."""
    seen = []
    monkeypatch.setattr(confusion, "save", lambda figure, path, dpi: seen.append(figure))
    return seen


@pytest.mark.parametrize("matrix, bars", [(np.eye(4, dtype=int), 4), (np.zeros((4, 4), int), 0),
                                          (np.zeros((40, 40), int), 0)])
def test_a_perfect_and_an_empty_matrix_are_drawn_too(matrix, bars, figures):
    names = [str(i) for i in range(len(matrix))]
    confusion.draw_confusion(matrix, names, "confusion.png", "confusion")
    confusion.draw_per_class(matrix, names, "per_class.png")
    assert figures[0].axes[1].get_title() == "no image was confused" and not figures[0].axes[1].patches
    assert [bar.get_width() for bar in figures[1].axes[0].patches] == [100] * bars


def test_confused_pairs_and_accuracies_are_bars_with_names_and_numbers(figures):
    matrix = np.array([[5, 3, 0], [7, 1, 0], [0, 3, 9]])
    confusion.draw_confusion(matrix, ["a", "b", "c"], "confusion.png", "confusion")
    confusion.draw_per_class(matrix, ["a", "b", "c"], "per_class.png")
    for axes, names, texts in ((figures[0].axes[1], ["b → a", "a → b", "c → b"], ["7", "3", "3"]),
                               (figures[1].axes[0], ["c", "a", "b"], ["75.0", "62.5", "12.5"])):
        assert [label.get_text() for label in axes.get_yticklabels()] == names
        assert [text.get_text() for text in axes.texts] == texts and len(axes.patches) == 3
    assert [text.get_text() for text in figures[0].axes[0].texts] == ["62", "38", "0", "88", "12", "0", "0", "25", "75"]


def test_of_many_classes_the_best_and_the_worst_ten_are_named(figures):
    confusion.draw_per_class(matrix_of(31), [f"class {i}" for i in range(31)], "per_class.png")
    curve, best, worst = figures[0].axes
    assert curve.get_xlim() == (1, 31)
    assert len(best.patches) == len(worst.patches) == 10
    assert min(bar.get_width() for bar in best.patches) >= max(bar.get_width() for bar in worst.patches)


@pytest.mark.parametrize("batch, size", [(3, (432, 212)), (128, (1132, 704))])
def test_the_mosaic_shows_the_pixels_as_they_are(batch, size, tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (batch, 64, 64, 3), dtype=np.uint8)
    mosaic.draw_batch(images, np.zeros(batch, int), ["goldfish"], tmp_path / "batch.png", "a batch")
    with Image.open(tmp_path / "batch.png") as picture:
        assert picture.size == size
        canvas = np.asarray(picture)
    np.testing.assert_array_equal(canvas[48 : 48 + 128 : 2, 12 : 12 + 128 : 2], images[0])


def test_a_preview_spreads_over_the_classes_and_reads_only_what_it_shows(tmp_path, monkeypatch):
    shown = []
    monkeypatch.setattr(mosaic, "draw_mosaic", lambda images, captions, *rest: shown.append((images, captions)))
    pixels = np.lib.format.open_memmap(tmp_path / "pixels.npy", mode="w+", dtype=np.uint8, shape=(1000, 8, 8, 3))
    labels = np.tile(np.arange(10), 100)
    mosaic.draw_preview(pixels, labels, [str(i) for i in range(10)], tmp_path / "preview.png", "val", count=20)
    images, captions = shown[0]
    assert images.shape == (20, 8, 8, 3) and sorted(set(captions)) == [str(i) for i in range(10)]


@pytest.mark.parametrize("name, shown", [
    ("goldfish, Carassius auratus", "goldfish"), ("European fire salamander", "European fire salamander"),
    ("a name that is far too long for its place", "a name that is far too…"),
])
def test_names_are_shortened(name, shown):
    assert format.short(name) == shown
