"""Synthetic images: every training person in poses of other images (App. C)."""
