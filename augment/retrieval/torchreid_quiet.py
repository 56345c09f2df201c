"""torchreid, imported after torchvision is mended and without its warning that the registry's build has no Cython."""

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
    """Swallow what torchreid prints while it builds things."""
    with contextlib.redirect_stdout(io.StringIO()):
        yield
