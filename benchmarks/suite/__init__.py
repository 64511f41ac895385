"""The suite that a GPU machine runs: stages of measurements, each kept as soon as it is made (see `GPU.md`)."""
