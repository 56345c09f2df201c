"""Which two images of a person make a pair (Sec. 6)."""

from augment.pairs.mining import mine_pairs, sample_test_pairs

__all__ = ["mine_pairs", "sample_test_pairs"]
