"""Prefect flows of the stages of ``augment``: a flow for the pipeline, a flow per stage, a task per shard."""
