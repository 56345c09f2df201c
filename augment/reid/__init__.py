"""What the images are worth: the same re-ID training with and without them (App. C, Tab. 4)."""


from pathlib import Path


def register(run: Path | str, name: str = "augmented") -> None:
    """Make a run's real and synthetic images a torchreid data set of this name, for ``ImageDataManager(sources=name)``.

    The synthetic images are further pictures of their own people; as a second source they would become new people. Call
    it before torchreid builds its data; again with the same run does no harm. Raises
    :class:`~augment.base.errors.AugmentError` where the run's folder lacks its tables,
    :class:`~augment.base.errors.UsageError` where torchreid has another data set of that name.
    """
    from augment.reid.dataset import register_run  # torchreid takes seconds to import

    register_run(Path(run), name)
