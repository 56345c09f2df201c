"""The rendered data set: synthetic figures with exact joints, so that the demo needs no download."""
