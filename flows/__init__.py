"""Prefect around the stages of ``augment``: one flow for all, one for each stage, one task a shard."""
