"""What a checkpoint is good for: to be measured on a split, to name what images show, to leave for other programs."""

SPLITS = ("val", "train")
FORMATS = ("safetensors", "torch-export")
