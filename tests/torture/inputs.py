"""What comes from outside: damaged images and wrong configurations."""

import contextlib
import io
import os
import random
import string
import time
from pathlib import Path

import numpy as np

from fasttrain.cli.main import main
from fasttrain.data.decode import decode_into, probe
from tests.data.trees import encoded, image
from tests.torture.children import child
from tests.torture.subjects import Pack
from tests.torture.table import Tally

BATCH = 250  # images or configurations of one child: one that crashes takes the others of its batch with it
SECONDS = 0.3  # of the processor, that a refusal may take


def fuzz_images(tally: Tally, count: int, seed: int, place: Path) -> None:
    """Alters bytes of images and cuts them: each decodes to a picture or raises ValueError, nothing else."""
    place.mkdir(parents=True, exist_ok=True)
    for start in range(0, count, BATCH):
        trials = range(start, min(count, start + BATCH))
        ended = child(lambda trials=trials: decode_all(trials, seed), place / "fuzz")
        found = dict(line.split(" ", 1) for line in ended.text.splitlines() if " " in line)
        for trial in trials:
            told = found.get(str(trial), f"no answer: the child ended with {ended.code}")
            tally.counts[told if told in ("decoded", "refused") else "other"] += 1
            tally.check(f"image {trial}", None if told in ("decoded", "refused") else told)


def decode_all(trials: range, seed: int) -> int:
    for trial in trials:
        try:
            data = fuzzed(random.Random(f"{seed} image {trial}"))
            _, height, width, _ = probe(data)
            if height * width <= 1 << 16:
                decode_into(data, np.empty((height, width, 3), np.uint8))
            print(trial, "decoded")
        except ValueError:
            print(trial, "refused")
        except BaseException as error:
            print(trial, f"{type(error).__name__}: {error}")
    return 0


def fuzzed(rng: random.Random) -> bytes:
    """Returns an image file of some kind with up to five bytes altered, cut off in one of two cases."""
    kind, options = rng.choice((("JPEG", {"quality": 90}), ("JPEG", {"progressive": True}), ("JPEG", {}), ("PNG", {}),
                                ("GIF", {}), ("BMP", {})))
    mode = "L" if kind == "JPEG" and rng.random() < 0.2 else "RGB"
    picture = image(rng.randrange(1000), rng.choice(((32, 32), (20, 30), (1, 1))), mode)
    data = bytearray(encoded(picture, kind, **options))
    for _ in range(rng.randrange(1, 6)):
        data[rng.randrange(len(data))] = rng.randrange(256)
    return bytes(data[:rng.randrange(len(data) // 2, len(data) + 1)] if rng.random() < 0.5 else data)


def name_bad_images(tally: Tally, count: int, seed: int, place: Path, tree: Path) -> None:
    """Packs a tree in which some images are cut: code 3, one line that names each of them."""
    for trial in range(count):
        rng = random.Random(f"{seed} names {trial}")
        pack, images = Pack(tree, place / f"cache{trial}"), sorted(tree.rglob("*.jpg"))
        chosen = rng.sample(images, rng.randrange(1, len(images)))
        whole = {path: path.read_bytes() for path in chosen}
        for path, content in whole.items():
            path.write_bytes(content[:rng.randrange(len(content) * 3 // 4)])
        ended = child(pack, pack.folder)
        unnamed = [str(path) for path in chosen if str(path.relative_to(tree)) not in ended.text]
        tally.check(f"trial {trial}", f"ends with {ended.code}" if ended.code != 3 else None,
                    None if ended.said_one_line() else f"says {ended.text[-300:]!r}",
                    f"not named: {unnamed}" if unnamed else None)
        for path, content in whole.items():
            path.write_bytes(content)


NUMBERS = ("", "-1", "nan", "x", "1e999", "1.5", "0x10", "--", "1,2", "ten", "[1]")
BAD = {
    "--epochs": ("0", *NUMBERS), "--batch-size": ("0", *NUMBERS), "--image-size": ("0", "7", *NUMBERS),
    "--classes": ("0", *NUMBERS), "--limit-train": ("0", *NUMBERS), "--limit-val": ("0", *NUMBERS),
    "--lr": ("0", "-1", "nan", "inf", "x", ""), "--seed": ("-1", "nan", "x", "1.5"), "--nproc": ("0", "-1", "x", "1.5"),
}
CHOICES = ("--arch", "--head", "--stem", "--recipe", "--loader", "--device", "--precision", "--compile")
KEYS = {
    "label_smoothing": ("-0.1", "1", "2", "x", "nan"), "optimizer.momentum": ("-1", "1", "1.5", "x", "nan"),
    "optimizer.weight_decay": ("-1", "x", "nan"), "schedule.warmup": ("-1", "2", "x"), "ema": ("-1", "1", "x"),
    "sizes": ("16x1", "32", "x", "32x0", "64:0", "32x1,,"), "augment.flip": ("sometimes", "7"), "clip": ("-1", "x"),
    "augment.crop_padding": ("-1", "x", "1.5"), "shards": ("0", "3", "x", "-2"), "channels_last": ("perhaps", "3"),
    "save_every": ("0", "-1", "x", "5h"), "tta": ("perhaps", "2"), "drop_last": ("maybe", "5"),
}


def refuse_configurations(tally: Tally, count: int, seed: int, place: Path) -> None:
    """Gives `fasttrain run` one wrong value among right ones: code 2, one line, at once, and nothing is created."""
    place.mkdir(parents=True, exist_ok=True)
    for start in range(0, count, BATCH):
        trials = range(start, min(count, start + BATCH))
        ended = child(lambda trials=trials: refuse_all(trials, seed, place / "work"), place / "configurations")
        found = dict(line.split(" ", 1) for line in ended.text.splitlines() if " " in line)
        for trial in trials:
            told = found.get(str(trial), f"no answer: the child ended with {ended.code}")
            tally.check(f"{trial}, {' '.join(wrong_words(random.Random(f'{seed} words {trial}')))!r}",
                        None if told == "refused" else told)


def refuse_all(trials: range, seed: int, work: Path) -> int:
    work.mkdir()
    os.chdir(work)
    for trial in trials:
        words = wrong_words(random.Random(f"{seed} words {trial}"))
        errors, started = io.StringIO(), time.process_time()
        try:
            with contextlib.redirect_stderr(errors), contextlib.redirect_stdout(io.StringIO()):
                code = main(["run", *words])
        except SystemExit as end:  # argparse's own
            code = end.code
        except BaseException as error:
            code = f"{type(error).__name__}: {error}"
        seconds, said = time.process_time() - started, errors.getvalue().strip()
        faults = [f"ends with {code}" if code != 2 else "", f"says {said!r}" if "\n" in said or not said else "",
                  f"creates {os.listdir()}" if os.listdir() else "",
                  f"takes {seconds:.2f} s" if seconds > SECONDS else ""]
        print(trial, "; ".join(filter(None, faults)) or "refused")
    os.chdir("/")
    work.rmdir()
    return 0


def wrong_words(rng: random.Random) -> list[str]:
    """Returns flags of which one cannot work."""
    right = ["--data", "synthetic:classes=3,train=8,val=4,size=32", "--image-size", "32", "--out", "out"]
    kind = rng.randrange(6)
    noise = "".join(rng.choices(string.ascii_lowercase + "-_. é\t", k=rng.randrange(1, 12)))
    if kind < 2:
        flag = rng.choice(list(BAD))
        return [*(right if flag != "--image-size" else right[:2]), f"{flag}={rng.choice(BAD[flag])}"]
    if kind == 2:
        return [*right, f"{rng.choice(CHOICES)}=no{noise}"]
    if kind == 3:
        key = rng.choice(list(KEYS))
        return [*right, "--set", f"{key}={rng.choice(KEYS[key])}"]
    if kind == 4:
        return [*right, "--set", rng.choice((f"no{noise}=1", "lr", "=", f"optimizer.no{noise}=1", "lr.x=1"))]
    return [*right, rng.choice((f"--no{noise}", "--epoch=3", "--lr", "stray", f"--config=/none/{noise.strip()}.yaml"))]
