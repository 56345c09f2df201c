"""The data set of a run: its title, and the published results that the run's own may be laid beside."""

from augment.config import Config
from augment.run import Run

_TITLES = {"market1501": "Market-1501", "deepfashion": "DeepFashion", "rendered": "Rendered demo set"}
_OF_THE_TEST = {"market1501": "query/0001_c1s1_001051_00"}  # an image of the official test part


def title(run: Run, config: Config) -> str:
    """The data set by name; the name of the folder of other images in the same layout."""
    if config.data.root is not None and published_layout(run, config) != config.data.layout:
        return config.data.root.name
    return _TITLES[config.data.layout]


def published_layout(run: Run, config: Config) -> str:
    """The layout whose published results are of the same test part; "" where the images are others."""
    image = _OF_THE_TEST.get(config.data.layout)
    if image is None:
        return config.data.layout
    known = "images" in run.manifests and run.manifests["images"].row(image) is not None
    return config.data.layout if known else ""
