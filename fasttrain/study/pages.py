"""The report of a study: `report.html`, one file that needs nothing beside it, and `report.md` with its pictures."""

import base64
from pathlib import Path

from fasttrain.storage import write_atomically, writing
from fasttrain.study import tables
from fasttrain.study.plots import PLOTS, draw_plots

FOLDER = "plots"


def write_report(ablation, runs, folder):
    """Writes `report.html`, `report.md` and the PNG files in `plots/` into `folder`, made where needed; its Path.

    ablation: the dict of ablation.json; "runs", "variants" and "comparisons" are lists of dicts, and any part of it may
    be missing. runs: the `Run`s behind it, which pictures, machine and versions are taken from.
    DataError where a file cannot be written.
    """
    folder = Path(folder)
    with writing(folder):
        (folder / FOLDER).mkdir(parents=True, exist_ok=True)
        plots = draw_plots(runs, folder / FOLDER, tables.recipe_names(ablation))
        data = {plot.file: base64.b64encode((folder / FOLDER / plot.file).read_bytes()).decode() for plot in plots}
    view = {
        "lead": tables.lead(ablation), "heads": tables.heads(ablation), "questions": tables.questions(ablation),
        "results": tables.results(ablation), "marks": tables.marks(ablation), "absent": tables.absent(ablation),
        "comparisons": tables.comparisons(ablation), "claims": tables.claims(ablation),
        "facts": tables.facts(ablation, runs), "commands": tables.commands(ablation),
        "method": ablation.get("method", []), "original": ablation.get("original", {}).get("source", ""),
        "runs": tables.run_table(ablation, folder), "left_out": ablation.get("left_out", []), "plots": plots,
        "not_drawn": [title for name, (title, _) in PLOTS.items() if f"{name}.png" not in data],
    }
    html, markdown = templates()
    inlined = {file: f"data:image/png;base64,{content}" for file, content in data.items()}
    linked = {file: f"{FOLDER}/{file}" for file in data}
    write_atomically(folder / "report.html", html.render(view, pictures=inlined))
    write_atomically(folder / "report.md", markdown.render(view, pictures=linked))
    return folder


def templates():
    """The templates of `report.html` and `report.md`; both escape every value that they are given."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    shared = {"loader": PackageLoader("fasttrain.study"), "undefined": StrictUndefined, "trim_blocks": True,
              "lstrip_blocks": True, "keep_trailing_newline": True}
    html = Environment(autoescape=True, **shared)
    markdown = Environment(autoescape=False, finalize=escape_markdown, **shared)
    html.filters["unbroken"] = unbroken
    markdown.filters["verbatim"] = Verbatim
    return html.get_template("report.html.j2"), markdown.get_template("report.md.j2")


def unbroken(sentence):
    """A sentence for HTML whose "top-1" never ends a line after the hyphen."""
    from markupsafe import Markup, escape

    return escape(sentence).replace("top-1", Markup('<span class="unbroken">top-1</span>'))


class Verbatim(str):
    """Text that Markdown takes as it is: an address or a line of code."""


def escape_markdown(value):
    """A value as text that Markdown shows as it is, on one line, in a cell of a table too."""
    text = " ".join(str(value).split())
    if isinstance(value, Verbatim):
        return text
    return "".join(f"\\{character}" if character in "\\`*_[]<>|#~" else character for character in text)
