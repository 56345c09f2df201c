"""An address and the local path of its copy: ``s3://bucket/run`` is ``<cache>/s3/bucket/run``, both ways.

The cache folder is ``$AUGMENT_CACHE``, else ``~/.cache/reid-augment``. Workers on other machines are sent paths, so it
must have the same name on all of them, without being shared.
"""

import os
import re
from functools import lru_cache
from pathlib import Path

from augment.base.errors import UsageError

VARIABLE = "AUGMENT_CACHE"
_ADDRESS = re.compile(r"([a-z][a-z0-9+.-]*)://(.+)", re.DOTALL)
_LOCAL = ("file", "local")  # fsspec's own name of this machine's disks: its paths are absolute


def cache_folder() -> str:
    """The folder of all copies, absolute."""
    return _absolute(os.environ.get(VARIABLE) or "~/.cache/reid-augment")


@lru_cache(maxsize=8)
def _absolute(folder: str) -> str:
    return os.path.abspath(os.path.expanduser(folder))


def is_address(text: str) -> bool:
    """Whether a text names something in a storage, and no path."""
    return "://" in text


def copy_of(address: str) -> Path:
    """The local path of an address. Raises :class:`UsageError` where it is none that can have one."""
    found = _ADDRESS.fullmatch(address)
    parts = found[2].strip("/").split("/") if found else []
    if found is None or "::" in address or "?" in address or not all(part.strip(".") for part in parts):
        raise UsageError(f"{address}: not an object storage address. Write it like s3://bucket/folder.")
    return Path(cache_folder(), found[1], *parts)


def is_copy(path: Path | str) -> bool:
    """Whether a path is below the cache folder. Quick: every reading of a file asks."""
    folder, text = cache_folder() + os.sep, os.fspath(path)
    return folder in text and os.path.normpath(text).startswith(folder)


def address_of(path: Path | str) -> str:
    """The address of a copy. Raises ValueError where the path is none."""
    protocol, _, name = os.path.relpath(os.path.normpath(path), cache_folder()).partition(os.sep)
    if protocol == os.pardir or os.sep not in name:
        raise ValueError(f"{path} is no copy")
    return f"{protocol}://{'/' if protocol in _LOCAL else ''}{name}"


def location(text: str) -> Path:
    """A path as it is; an address as the path of its copy."""
    return copy_of(text) if is_address(text) else Path(text)


def shown(text: str) -> str:
    """A text for the user: addresses in place of their copies' paths."""
    folder = cache_folder() + os.sep
    if folder not in text:
        return text
    return re.sub(re.escape(folder) + r"([a-z][a-z0-9+.-]*)/(?=[^/\s])",
                  lambda found: f"{found[1]}://{'/' if found[1] in _LOCAL else ''}", text)  # fmt: skip
