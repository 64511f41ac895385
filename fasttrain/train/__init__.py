"""Training: the step, its optimizer and schedule, metrics, checkpoints, and the trainer that ties them together."""
