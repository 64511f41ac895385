"""Which weight decay, with or without mirror images? Four small networks, and a report: `python examples/sweep.py`."""

import subprocess
import sys

DATA = ("--data", "synthetic:classes=3,train=12,val=8,size=32", "--image-size", "32")
VARIED = ("--vary", "optimizer.weight_decay=1e-4,5e-4", "--vary", "augment.flip=none,random")


def fasttrain(*words: str) -> None:
    """Runs a command of fasttrain, which prints what it does."""
    subprocess.run([sys.executable, "-m", "fasttrain", *words], check=True)


def main() -> None:
    small = ("--epochs", "2", "--batch-size", "8")
    fasttrain("ablate", *DATA, *VARIED, *small, "--grid", "--seeds", "1", "--out", "sweep")
    fasttrain("runs", "sweep", "--where", "augment.flip=random", "--sort", "val_top1", "--reverse")


if __name__ == "__main__":
    main()
