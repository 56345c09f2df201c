"""Metrics of generated images: similarity to the targets, distances of distributions, identity, pose, detection."""
