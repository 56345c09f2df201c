"""Pairs of images of a person (Sec. 6)."""

from augment.pairs.mining import mine_pairs, sample_test_pairs

__all__ = ["mine_pairs", "sample_test_pairs"]
