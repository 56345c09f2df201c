"""Export of a run's images in the formats of other programs."""
