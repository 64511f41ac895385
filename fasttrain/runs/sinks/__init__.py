"""What listens to a run: console, files, pictures, TensorBoard."""
