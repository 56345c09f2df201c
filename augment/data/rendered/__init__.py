"""The rendered data set: people drawn on the spot."""
