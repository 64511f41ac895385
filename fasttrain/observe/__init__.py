"""What a run shows and writes. The trainer emits events, sinks consume them, and nothing flows back."""
