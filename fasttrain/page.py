"""Pages of one file: a template of a package on the shared `templates/page.html.j2`, with pictures as SVG inside it."""

from __future__ import annotations

import io
import re

SCALE = 1.4  # pixels for each point of a picture, so that its 10 points are the page's 14 pixels
NAMED = "says:"  # what begins the id of a part that names itself
# colours of a picture -> variables of the page, so that pictures follow dark mode and print; see `page.html.j2`
VARIABLES = {"#000000": "ink", "#ffffff": "paper", "#595959": "dim", "#999999": "gray", "#e0e0e0": "pale",
             "#f0f0f0": "band", "#0072b2": "blue", "#d55e00": "orange", "#009e73": "green", "#cc79a7": "pink",
             "#56b4e9": "sky"}


def environment(package: str):
    """Returns jinja2's Environment of a package's folder `templates`, whose files may extend "page.html.j2".

    Values are escaped.
    """
    from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined

    loader = ChoiceLoader([PackageLoader(package), PackageLoader("fasttrain")])
    return Environment(autoescape=True, loader=loader, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True,
                       keep_trailing_newline=True)


def say(artist, text: str):
    """Makes a part of a figure name itself under the pointer, in the page that shows it; returns the part."""
    artist.set_gid(NAMED + " ".join(str(text).split()))
    return artist


def svg(figure, title: str) -> str:
    """Returns a figure as an `<svg>` element: text as text, colours as variables, parts that name themselves.

    title: what it shows, for readers who do not see it, and what keeps its ids apart from those of other pictures.
    """
    import matplotlib
    from markupsafe import escape

    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": title}):
        file = io.StringIO()
        figure.savefig(file, format="svg", metadata=dict.fromkeys(("Creator", "Date", "Format", "Type")))
    text = file.getvalue()
    text = re.sub(r"<metadata>.*?</metadata>|<!--.*?-->", "", text[text.index("<svg"):], flags=re.DOTALL)
    text = re.sub(rf'<g id="{NAMED}([^"]*)">', r'<g class="named" data-tip="\1">', text)
    text = re.sub(r'<g id="[^"]*">', "<g>", text)
    text = re.sub(r"font: ((?:bold |italic )?)([\d.]+)px [^;\"]*", font, text)
    text = re.sub("|".join(VARIABLES), lambda match: f"var(--{VARIABLES[match[0]]}, {match[0]})", text)
    width, height = (float(side) * SCALE for side in re.search(r'viewBox="0 0 ([\d.]+) ([\d.]+)"', text).groups())
    return re.sub(r"<svg[^>]*>", f'<svg class="picture" role="img" aria-label="{escape(title)}" width="{width:.0f}" '
                  f'height="{height:.0f}" viewBox="0 0 {width / SCALE:g} {height / SCALE:g}" '
                  'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink">', text, count=1)


def font(match: re.Match) -> str:
    """Returns the style of a text of a picture in the page's font: its size and weight alone."""
    weight = "; font-weight: bold" if "bold" in match[1] else ""
    return f"font-size: {match[2]}px{weight}"
