"""Every training person in other people's poses (App. C)."""
