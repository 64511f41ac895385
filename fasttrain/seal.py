"""Files that prove themselves: each holds the sha256 of its other content.

A file of an earlier version has no seal. Its reader accepts that and checks what it can.
"""

import hashlib
import json
from typing import Any

MARK = "# sha256 "
LENGTH = len(MARK) + 64 + 1  # of the line, in bytes


def line(content: bytes | memoryview) -> str:
    """Returns the line that proves `content`."""
    return f"{MARK}{hashlib.sha256(content).hexdigest()}\n"


def proves_itself(data: bytes) -> bool:
    """Whether the last line of a binary file proves what precedes it."""
    return data[-LENGTH:] == line(memoryview(data)[:-LENGTH]).encode()


def seal_text(text: str) -> str:
    """Returns a text with a comment in front that proves it, so that a file that was cut off is found too."""
    return line(text.encode()) + text


def check_text(text: str) -> None:
    """Raises ValueError for a text whose first line is a seal, even in part, that does not prove the rest."""
    first, _, rest = text.partition("\n")
    if (first.startswith("#") or "sha256" in first) and first + "\n" != line(rest.encode()):
        raise ValueError("its sha256 is another")


def seal_json(content: dict[str, Any]) -> str:
    """Returns `content` as JSON with a key `sha256` before the others."""
    return json.dumps({"sha256": digest(content), **content}, indent=2) + "\n"


def open_json(text: str) -> dict[str, Any]:
    """Returns the content of a JSON object without its seal; ValueError where it is none or not what was sealed."""
    content = json.loads(text)
    if not isinstance(content, dict):
        raise ValueError("not an object")
    if content.pop("sha256", None) not in (None, digest(content)):
        raise ValueError("its sha256 is another")
    return content


def digest(content: dict[str, Any]) -> str:
    """Returns the sha256 of a JSON object in its shortest form."""
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()
