"""Seals: every flipped bit and every cut is found; what has no seal is taken as it is."""

import json

import pytest
import yaml

from fasttrain import seal

CONTENT = {"name": "café", "values": [1, 2.5, None], "inner": {"b": True, "a": float("inf")}}


def flips(data):
    """Every form of `data` with one bit flipped."""
    for position in range(8 * len(data)):
        changed = bytearray(data)
        changed[position // 8] ^= 1 << position % 8
        yield bytes(changed)


def cuts(data):
    return (data[:length] for length in range(1, len(data)))


def test_a_binary_file_proves_itself():
    data = b"\x00\xffbytes" * 9
    whole = data + seal.line(data).encode()
    assert seal.proves_itself(whole)
    assert not any(map(seal.proves_itself, [*flips(whole), *cuts(whole), data, b""]))


def test_a_sealed_text_is_still_yaml_and_no_damage_to_it_goes_unseen():
    text = yaml.safe_dump(CONTENT, sort_keys=False)
    whole = seal.seal_text(text)
    seal.check_text(whole)
    seal.check_text(text)
    assert yaml.safe_load(whole) == CONTENT
    for damaged in [*flips(whole.encode()), *cuts(whole.encode())]:
        with pytest.raises(ValueError):
            seal.check_text(damaged.decode())


def test_a_sealed_object_is_still_json_and_damage_is_found_or_does_no_harm():
    whole = seal.seal_json(CONTENT)
    assert json.loads(whole).items() > CONTENT.items()
    assert seal.open_json(whole) == seal.open_json(json.dumps(CONTENT)) == CONTENT
    for damaged in [*flips(whole.encode()), *cuts(whole.strip().encode())]:
        try:
            found = seal.open_json(damaged.decode())
        except ValueError:
            continue
        assert found.items() >= CONTENT.items()  # only the name of the seal's key was hit


@pytest.mark.parametrize("text", ["[]", "3", '"sha256"', "{", ""])
def test_what_is_no_object_is_refused(text):
    with pytest.raises(ValueError):
        seal.open_json(text)
