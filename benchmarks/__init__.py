"""Measurements beside the package: peers, single questions, the suite for a GPU machine."""
