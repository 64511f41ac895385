"""Fine-tunes a state dict as torchvision has them: `python examples/fine_tune.py [FOLDER]`.

The command line alone does it; this file types the commands. With torchvision installed the weights would come from

    torch.save(torchvision.models.resnet18(weights="DEFAULT").state_dict(), "resnet18.pth")

To need no download, this example draws them, for 1000 classes.
"""

import os
import subprocess
import sys
from pathlib import Path

import torch
from PIL import Image

from fasttrain.models import build_model

DATA = ["--data", "synthetic:classes=5,train=40,val=10,size=32", "--image-size", "32", "--batch-size", "20"]
TUNED = ["--weights", "resnet18.pth", "--freeze", "conv1.*,bn1.*,layer1.*"]


def fasttrain(*words: str) -> None:
    """Types a command."""
    print("$ fasttrain", *words, flush=True)
    subprocess.run([sys.executable, "-m", "fasttrain", *words], check=True)


def main() -> None:
    """Trains two epochs and then two more, and uses what comes out, in the current folder."""
    torch.save(build_model("resnet18", "origin", num_classes=1000, seed=0).state_dict(), "resnet18.pth")
    Image.new("RGB", (300, 200), "seagreen").save("photo.jpg")
    fasttrain("run", *TUNED, *DATA, "--epochs", "2", "--lr", "0.02", "--set", "patience=3", "--out", "tuned")
    fasttrain("run", "--resume", "tuned", "--epochs", "4")
    fasttrain("eval", "tuned")
    fasttrain("predict", "tuned", "photo.jpg")
    fasttrain("profile", *TUNED, *DATA, "--steps", "5", "--out", "profile")
    fasttrain("export", "tuned", "--to", "torch-export", "--out", "net.pt2")


if __name__ == "__main__":
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "fine_tune")
    folder.mkdir(parents=True, exist_ok=True)
    os.chdir(folder)
    main()
