"""Puts checkpoints to use: evaluates them on a split, names what images show, exports them for other programs."""

SPLITS = ("val", "train")
FORMATS = ("safetensors", "torch-export", "onnx")
