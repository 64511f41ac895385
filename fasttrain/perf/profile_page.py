"""`profile.html`: a profile as one file."""

from collections.abc import Sequence
from pathlib import Path

from fasttrain.page import environment
from fasttrain.perf import against
from fasttrain.perf.profile import Profile
from fasttrain.perf.profile_charts import phase_label
from fasttrain.storage import write_atomically


def write_page(profile: Profile, other: Profile | None, pictures: Sequence[tuple[str, str]], folder: Path) -> None:
    """Writes `profile.html` into `folder`, where the SVG of each of `pictures`, (name, title), lies.

    other: the earlier profile that this one is held against.
    """
    from markupsafe import Markup

    drawn = [(title, Markup((folder / f"{name}.svg").read_text(encoding="utf-8"))) for name, title in pictures]
    changed = against.changes(other, profile) if other else {}
    page = environment("fasttrain.perf")
    page.filters["phase"] = phase_label
    write_atomically(folder / "profile.html", page.get_template("profile.html.j2").render(
        result=profile.result, details=profile.details, pictures=drawn, numbers=numbers(profile), changed=changed,
        settings=against.settings(other, profile) if other else [], other=other))


def numbers(profile: Profile) -> list[tuple[str, str, str, str]]:
    """Returns (what, reached, ceiling, share) of the step against the machine's ceilings."""
    result, details = profile.result, profile.details
    seconds, ceilings = result["step_ms"] / 1e3, result["ceilings"]
    return [("arithmetic, GFLOP/s", f"{details['step_flops'] / seconds / 1e9:,.1f}",
             f"{ceilings['matmul_flops'] / 1e9:,.1f}", f"{result['mfu']:.1%}"),
            ("memory, GB/s, at least", f"{details['step_bytes'] / seconds / 1e9:,.2f}",
             f"{ceilings['copy_bytes_per_second'] / 1e9:,.2f}", f"{result['bandwidth_share']:.1%}"),
            ("idle or starting operators", "", "", f"{details['launch_share']:.1%}"),
            ("cost of measuring, whole and in pieces", "", "",
             f"{details['measuring_share']['whole']:.4%}, {details['measuring_share']['split']:.4%}")]
