"""What zip and tar archives share: names that may be hostile, and a folder around the data."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from fasttrain.errors import DataError

BOMB_RATIO, BOMB_SLACK = 20, 64 << 20


def check_name(name: str, location: str | Path) -> None:
    """Raises DataError for a member whose name would lead out of the folder that it is unpacked in."""
    if name.startswith("/") or "\\" in name or ":" in name.split("/")[0] or ".." in name.split("/"):
        raise DataError(f"{location}: unsafe name {name!r} in the archive: get it again from a source you trust")


def check_kind(regular: bool, name: str, location: str | Path) -> None:
    """Raises DataError for a member that is neither a file nor a folder."""
    if not regular:
        raise DataError(f"{location}: {name!r} is a link or device: get the archive again from a source you trust")


def check_size(unpacked: int, packed: int, location: str | Path) -> None:
    """Raises DataError for a bomb: images hardly shrink, so an archive that grows 20-fold was made to hurt."""
    if unpacked > BOMB_RATIO * packed + BOMB_SLACK:
        raise DataError(f"{location}: unpacks to over {unpacked / 1e9:.1f} GB from {packed / 1e6:.1f} MB: refused")


def root_of(names: Iterable[str]) -> str:
    """Returns what stands before train/ and val/ in the names: "" or one folder, such as "tiny-imagenet-200/"."""
    for name in names:
        parts = name.split("/")
        for depth in (0, 1):
            if parts[depth:depth + 1] in (["train"], ["val"]) and len(parts) > depth + 1:
                return "".join(f"{part}/" for part in parts[:depth])
    return ""


def without_root(members: dict[str, Any]) -> dict[str, Any]:
    """Returns {name below the root: member} of {name: member}, without what lies outside the root."""
    root = root_of(members)
    return {name[len(root):]: member for name, member in members.items() if name.startswith(root)}
