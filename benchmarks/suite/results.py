"""What a stage measured, in one JSON file that is whole at any instant."""

import json
from pathlib import Path

from fasttrain.storage import write_atomically

# A measurement that ended so is not repeated; any other (failed, out of time, interrupted) is tried again.
FINAL = ("ok", "oom")


class Mismatch(Exception):
    """The folder holds results of another setting; the text says which."""


def write_json(path, value):
    """Writes JSON to `path` all or not at all."""
    write_atomically(path, json.dumps(value, indent=1) + "\n")


def read_json(path, otherwise=None):
    """The value in a JSON file; `otherwise` where it is missing or damaged."""
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return otherwise


class Results:
    """The rows of one stage by name. Each holds "status", "seconds" and what was measured.

    setting: a dict; raises Mismatch where the file was written under another one.
    """

    def __init__(self, path, setting):
        self.path, self.setting = Path(path), setting
        found = read_json(path, {})
        if found and found["setting"] != setting:
            raise Mismatch(f"{path}: holds results of {found['setting']}, this is {setting}: choose another --out")
        self.rows = found.get("rows", {})

    def done(self, name):
        """Whether the measurement `name` need not run again."""
        return self.rows.get(name, {}).get("status") in FINAL

    def put(self, name, row):
        """Keeps a row, and the file at once."""
        self.rows[name] = row
        write_json(self.path, {"setting": self.setting, "rows": self.rows})
