"""manifest.json: what a folder of arrays holds, with a sha256 of every file and of itself."""

import hashlib
import json
from pathlib import Path

from fasttrain.data.threads import map_in_order
from fasttrain.errors import DataError
from fasttrain.storage import CACHE, write_atomically

NAME = "manifest.json"
BLOCK = 1 << 20


def render(fields: dict) -> str:
    """Returns the text of a manifest: JSON whose last key is the sha256 of all that stands before it."""
    digest = hashlib.sha256(json.dumps(fields).encode()).hexdigest()
    return json.dumps({**fields, "sha256": digest}, indent=1) + "\n"


def write_manifest(folder: Path, fields: dict) -> None:
    """Writes `folder`/manifest.json, all of it or not at all."""
    write_atomically(folder / NAME, render(fields), CACHE)


def read_manifest(folder: Path, remedy: str) -> dict:
    """Returns the fields of `folder`/manifest.json; DataError, ending in `remedy`, for what is damaged or altered."""
    try:
        text = (folder / NAME).read_text(encoding="utf-8")
        fields = json.loads(text)
        del fields["sha256"]
    except OSError as error:
        raise DataError(f"{folder / NAME}: cannot read ({error.strerror}): {remedy}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"{folder / NAME}: damaged: {remedy}") from error
    if render(fields) != text:
        raise DataError(f"{folder / NAME}: altered since it was written: {remedy}")
    return fields


def record_files(folder: Path, names: list[str]) -> dict[str, dict]:
    """Returns {name: {"sha256", "size" in bytes, "mtime_ns"}} of files below `folder`."""
    digests = map_in_order(hash_file, [folder / name for name in names])
    return {name: {"sha256": digest, **_status(folder / name)} for name, digest in zip(names, digests, strict=True)}


def check_files(folder: Path, records: dict[str, dict], remedy: str, thorough: bool = False) -> dict[str, dict]:
    """Compares files with what `record_files` said; returns the records with the time stamps of now.

    Size and time stamp decide; where only the stamp differs, or always if `thorough`, the sha256 does. Raises
    DataError, ending in `remedy`, that names all files which are missing, cut or altered.
    """
    found, wrong = {}, []
    for name, record in records.items():
        path = folder / name
        try:
            found[name] = {**record, **_status(path)}
            same = found[name]["size"] == record["size"]
            if same and (thorough or found[name] != record):
                same = hash_file(path) == record["sha256"]
        except OSError as error:
            wrong.append(f"{path}: cannot read ({error.strerror})")
        else:
            wrong += [] if same else [f"{path}: altered or cut since it was written"]
    if wrong:
        raise DataError(f"{', '.join(wrong)}: {remedy}")
    return found


def hash_file(path: Path) -> str:
    """Returns the sha256 of a file, in hex."""
    digest = hashlib.sha256()
    with open(path, "rb", buffering=0) as file:
        while block := file.read(BLOCK):
            digest.update(block)
    return digest.hexdigest()


def _status(path):
    status = path.stat()
    return {"size": status.st_size, "mtime_ns": status.st_mtime_ns}
