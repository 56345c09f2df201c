"""torchreid, imported after the torchvision repair and without its warning that Cython code is missing."""

import contextlib
import io
import warnings
from collections.abc import Iterator

import augment.base.torchvision_cpu  # noqa: F401

with warnings.catch_warnings():
    warnings.filterwarnings("ignore", message="Cython evaluation")
    import torchreid

__all__ = ["quiet", "torchreid"]


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Suppress what torchreid prints while it builds its objects."""
    with contextlib.redirect_stdout(io.StringIO()):
        yield
