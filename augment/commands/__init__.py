"""The commands of ``augment``: they parse, call and print. No work of their own, no heavy import before they run."""
