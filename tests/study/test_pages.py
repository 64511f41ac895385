"""The report of a study, as HTML and as Markdown."""

import html.parser
import re

import pytest
from PIL import Image

from fasttrain.config import RunConfig
from fasttrain.errors import DataError
from fasttrain.runs.run import load_run
from fasttrain.study import pages
from fasttrain.study.analysis.ablation import build_ablation
from fasttrain.study.plots import PLOTS, Plot
from tests.study import fabricate
from tests.study.studies import diverged, draw_small, make_ablation, make_run, make_study

VOID = {"meta", "img", "br", "link", "input"}
PICTURES = ("differences", *PLOTS)
LOADED = ("src", "href", "xlink:href", "data", "action")  # attributes that may name something beside the page


class Page(html.parser.HTMLParser):
    """A page's tags with their attributes, and its text; fails where tags do not match."""

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.text = [], [], ""
        self.feed(text)
        self.close()
        assert not self.open, f"never closed: {self.open}"

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open[-1:] not in (["style"], ["script"]):
            self.text += data

    def all(self, tag):
        return [attributes for name, attributes in self.tags if name == tag]


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """(folder, page, Markdown, dict) of the report of six variants and two seeds."""
    folder = tmp_path_factory.mktemp("study")
    runs = make_study(folder)
    ablation = make_ablation(runs)
    with pytest.MonkeyPatch.context() as patch:
        draw_small(patch)
        report = pages.write_report(ablation, runs, folder / "report")
    return report, Page((report / "report.html").read_text()), (report / "report.md").read_text(), ablation


@pytest.fixture
def without_pictures(monkeypatch):
    monkeypatch.setattr(pages, "draw_plots", lambda *arguments: [])


def test_the_page_needs_nothing_beside_it(written):
    _, page, _, _ = written
    assert not {"link", "iframe", "object", "img"} & {tag for tag, _ in page.tags}
    loaded = [value for tag, attributes in page.tags for name, value in attributes.items()
              if name in LOADED and tag != "a"]
    assert loaded and all(value.startswith(("#", "data:image/png;base64,")) for value in loaded)
    links = [link["href"] for link in page.all("a")]
    assert links and not [link for link in links if ":" in link or link.startswith("/")]


def test_every_picture_is_there_and_shows_something(written):
    report, page, markdown, _ = written
    assert [f"plots/{name}.png" for name in PICTURES] == re.findall(r"!\[.*?\]\((.*?)\)", markdown)
    assert {image["aria-label"] for image in page.all("svg")} == set(PICTURES)
    text = (report / "report.html").read_text()
    for name in PICTURES:
        assert (report / "plots" / f"{name}.svg").read_text() in text
        with Image.open(report / "plots" / f"{name}.png") as picture:
            assert picture.width >= 600 and len(picture.convert("L").getcolors()) > 20


def test_a_page_shows_the_verdicts_the_differences_and_the_time_first_and_folds_the_rest(written):
    _, page, _, _ = written
    folds = [place for place, (tag, _) in enumerate(page.tags) if tag == "details"]
    shown = [attributes["aria-label"] for tag, attributes in page.tags[:folds[0]] if tag == "svg"]
    assert shown == ["differences", "pareto"]
    marks = [attributes["class"] for tag, attributes in page.tags[:folds[0]] if tag == "span"]
    assert marks[:2] == ["mark won", "mark none"]
    assert page.text.index("origin +3.1") < page.text.index("no verdict") < page.text.index("The answers in words")


def test_curves_name_themselves_and_pictures_wear_the_colours_of_the_page(written):
    report, page, _, _ = written
    names = [attributes["data-tip"] for _, attributes in page.tags if attributes.get("class") == "named"]
    for name in ("origin, seed 1:", "dropout, mean of 2 seeds:", "resnet50 maxpool:", "fast: avg beats max"):
        assert any(told.startswith(name) for told in names), name
    text = (report / "report.html").read_text()
    pictures = text[text.index("<body"):]
    assert not re.search(r"(fill|stroke): #(000000|ffffff)", pictures)
    assert set(re.findall(r"var\(--(\w+)", pictures)) <= set(re.findall(r"--(\w+):", text[:text.index("<body")]))
    assert len(text) < 3e6


def test_ids_of_one_picture_are_not_those_of_another(written):
    _, page, _, _ = written
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))


def test_numbers_and_sentences_are_those_of_the_dict(written):
    _, page, markdown, _ = written
    for place in range(6):
        assert f"{41.25 + place:.1f} ({40.25 + place:.1f} to {42.25 + place:.1f})" in page.text
        assert f"{41.25 + place:.1f} ({40.25 + place:.1f} to {42.25 + place:.1f})" in markdown
    for text in (page.text, markdown):
        assert "+3.1" in text and "+1.0 to +5.2" in text and "0.012" in text
    assert "avg <beats> max by 3.1 in resnet18." in page.text


def test_runs_are_linked_from_where_the_report_lies(written):
    report, page, markdown, ablation = written
    links = [link["href"] for link in page.all("a") if not link["href"].startswith("#")]
    assert len(links) == len(ablation["runs"]) == 12
    assert all((report / link / "predictions.npy").exists() for link in links)
    assert f"]({links[0]})" in markdown


def test_hostile_names_are_text(without_pictures, tmp_path):
    runs = [make_run(tmp_path, head=head, recipe="fast") for head in ("origin", "maxpool")]
    ablation = make_ablation(runs)
    hostile = "<img src=x onerror=alert(1)> | [a](javascript:b) `c`\n# d"
    ablation["answers"][0]["sentence"] = ablation["runs"][0]["status"] = hostile
    ablation["runs"][1]["folder"] = "javascript:alert(1)"
    ablation["left_out"] = [hostile]
    ablation["claims"] = [{"claim": hostile, "recipe": "fast", "arch": "resnet18", "sentence": hostile, "holds": None}]
    report = pages.write_report(ablation, runs, tmp_path / "report")
    page = Page((report / "report.html").read_text())
    assert not page.all("img") and len(page.all("script")) == 1
    assert "alert(1)" in page.text and not [a for a in page.all("a") if "javascript" in a["href"]]
    markdown = (report / "report.md").read_text()
    assert "<img" not in markdown.replace("\\<img", "") and "\n# d" not in markdown
    assert "[a](" not in markdown


def test_nothing_at_all_makes_a_page_that_says_so(tmp_path):
    report = pages.write_report(build_ablation([]), [], tmp_path / "report")
    page = Page((report / "report.html").read_text())
    assert "No question can be answered" in page.text and "No run was trained to the end" in page.text
    assert not page.all("svg")
    assert "No question can be answered" in (report / "report.md").read_text()


def test_failed_and_missing_runs_are_listed(without_pictures, tmp_path):
    runs = [make_run(tmp_path), diverged(make_run(tmp_path, head="maxpool", rows=2))]
    planned = RunConfig(arch="resnet50", head="dropout", seed=3, out=str(tmp_path / "never"))
    row = build_ablation([], [planned], failures={planned.out: "out of memory"})["runs"][0]
    ablation = make_ablation(runs) | {"comparisons": [], "answers": [], "left_out": ["runs/x: of another data set"]}
    ablation["runs"].append(row)
    report = pages.write_report(ablation, runs, tmp_path / "report")
    for text in (Page((report / "report.html").read_text()).text, (report / "report.md").read_text()):
        assert "resnet18 maxpool, recipe fast, seed 0: diverged after 2 epochs" in text
        assert "resnet50 dropout, recipe fast, seed 3: failed: out of memory" in text
        assert "runs/x: of another data set" in text


def test_all_that_ablation_json_says_is_on_the_page(without_pictures, tmp_path):
    finals = {(arch, head): (80, 82, 81 + place) for arch in ("resnet18", "resnet50")
              for place, head in enumerate(("origin", "maxpool", "dropout"))}
    runs = [load_run(folder) for folder in fabricate.make_study(tmp_path / "runs", finals)]
    ablation = build_ablation(runs, left_out=["runs/y: damaged"])
    report = pages.write_report(ablation, runs, tmp_path / "report")
    text = Page((report / "report.html").read_text()).text
    for row in [*ablation["answers"], *ablation["claims"]]:
        assert row["sentence"] in text
    for row in ablation["variants"]:
        assert f"{row['mean']:.{ablation['metrics'][row['metric']]['digits']}f}" in text
    for row in ablation["comparisons"]:
        assert row["question"] in text and row["method"] in text
    for line in [*ablation["method"], *ablation["left_out"]]:
        assert line in text
    assert ablation["original"]["source"] not in text  # of other classes than these
    assert ablation["groups"][0]["command"] in text


def test_what_could_not_be_drawn_is_named(monkeypatch, tmp_path):
    runs = [make_run(tmp_path)]
    plot = Plot("top1.png", "Top-1 accuracy", "a caption")

    def draw(runs, folder, recipes, comparisons):
        (folder / plot.file).with_suffix(".svg").write_text("<svg></svg>")
        return [plot]

    monkeypatch.setattr(pages, "draw_plots", draw)
    report = pages.write_report(make_ablation(runs), runs, tmp_path / "report")
    for text in (Page((report / "report.html").read_text()).text, (report / "report.md").read_text()):
        assert "Training loss, Validation loss, Top-5 accuracy" in text.partition("Not drawn")[2]


def test_original_numbers_stand_beside_ours_and_missing_ones_nowhere(without_pictures, tmp_path):
    runs = [make_run(tmp_path)]
    ablation = make_ablation(runs)
    ablation["original"] = {"source": "its own logs", "results": [
        {"arch": "resnet18", "head": "origin", "epochs": 80, "val_top1": 34.87}]}
    report = pages.write_report(ablation, runs, tmp_path / "report")
    page = Page((report / "report.html").read_text())
    assert "34.87" in page.text and "its own logs" in page.text
    assert "41.2 (40.2 to 42.2) [34.87]" in (report / "report.md").read_text().replace("\\", "")
    assert not re.search(r"\b(nan|None)\b", page.text)


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="cannot write"):
        pages.write_report(build_ablation([]), [], tmp_path / "file" / "report")
