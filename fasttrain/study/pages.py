"""The report of a study: `report.html`, one file that needs nothing beside it, and `report.md` with its pictures."""

from collections.abc import Sequence
from pathlib import Path

from fasttrain import page
from fasttrain.runs.run import Run
from fasttrain.storage import write_atomically, writing
from fasttrain.study import ranking, tables
from fasttrain.study.marks import compared, marks
from fasttrain.study.plots import PLOTS, Plot, draw_plots, draw_study
from fasttrain.train.status import DONE

PICTURES = "plots"  # the folder for them, beside the report


def write_report(ablation: dict, runs: Sequence[Run], folder: str | Path) -> Path:
    """Writes `report.html`, `report.md` and the PNG files in `plots/` into `folder`, made where needed; returns it.

    ablation: see `choose.build`. runs: those it was built from, which pictures, machine and versions are taken from.
    DataError where a file cannot be written.
    """
    folder, recipes = Path(folder), {row["folder"]: row["recipe"] for row in ablation["runs"]}
    runs = [run for run in runs if str(run.folder) in recipes]  # without those that repeat another one
    ranked = "settings" in ablation
    with writing(folder):
        (folder / PICTURES).mkdir(parents=True, exist_ok=True)
        if ranked:
            plots = draw_study(ranking.drawn(ablation, runs), folder / PICTURES, ablation["comparisons"])
        else:
            plots = draw_plots(runs, folder / PICTURES, recipes, ablation["comparisons"])
        inlined = {plot.file: inline(folder / PICTURES / plot.file) for plot in plots}
    shown = (ranking.content if ranked else content)(ablation, runs, folder, plots)
    html, markdown = templates("ranking" if ranked else "report")
    linked = {plot.file: f"{PICTURES}/{plot.file}" for plot in plots}
    write_atomically(folder / "report.html", html.render(shown, pictures=inlined))
    write_atomically(folder / "report.md", markdown.render(shown, pictures=linked))
    return folder


def content(ablation: dict, runs: Sequence[Run], folder: Path, plots: Sequence[Plot]) -> dict:
    """Returns everything that the templates may show, by the names they use for it."""
    drawn = {plot.file for plot in plots}
    told, recipes = compared(ablation), (group["recipe"] for group in ablation["groups"])
    return {
        "lead": tables.lead(ablation, told), "further": tables.lead(ablation, {*recipes} - told),
        "marks": marks(ablation), "answers": ablation["answers"],
        "heads": tables.heads(ablation),
        "results": tables.results(ablation), "originals": tables.originals(ablation),
        "milestones": tables.milestones(ablation),
        "unfinished": tables.unfinished(ablation), "comparisons": tables.comparisons(ablation),
        "claims": ablation["claims"], "method": ablation["method"], "original": ablation["original"]["source"],
        "circumstances": tables.circumstances(ablation, runs), "groups": ablation["groups"],
        "several": len(ablation["groups"]) > 1, "done": DONE, "runs": tables.run_table(ablation, folder),
        "left_out": ablation["left_out"], "plots": plots,
        "not_drawn": [title for name, (title, _) in PLOTS.items() if f"{name}.png" not in drawn],
    }


def inline(path: Path):
    """Returns the SVG beside a PNG file, as it stands in a page."""
    from markupsafe import Markup

    return Markup(path.with_suffix(".svg").read_text(encoding="utf-8"))


def templates(name: str) -> tuple:
    """Returns the templates of a report, as HTML and as Markdown; both escape every value that they are given."""
    html = page.environment("fasttrain.study")
    markdown = html.overlay(autoescape=False, finalize=escape_markdown)
    html.filters["unbroken"] = unbroken
    html.filters["verbatim"] = Verbatim
    html.filters["holds"] = {True: "yes", False: "no", None: "cannot tell"}.get
    return html.get_template(f"{name}.html.j2"), markdown.get_template(f"{name}.md.j2")


def unbroken(sentence: str):
    """Returns a sentence for HTML whose "top-1" never ends a line after the hyphen."""
    from markupsafe import Markup, escape

    return escape(sentence).replace("top-1", Markup('<span class="unbroken">top-1</span>'))


class Verbatim(str):
    """Text that Markdown takes as it is: an address or a line of code."""


def escape_markdown(value) -> str:
    """Returns a value as text that Markdown shows as it is, on one line, in a cell of a table too."""
    text = " ".join(str(value).split())
    if isinstance(value, Verbatim):
        return text
    return "".join(f"\\{character}" if character in "\\`*_[]<>|#~" else character for character in text)
