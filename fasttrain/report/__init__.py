"""What is left to look at when a run is over: curves, pictures, the card."""
