"""Handing a run's images on: in the folders and files that other programs read."""
