"""Measurements beside the package: peers, studies, the suite for a GPU machine."""
