"""Published files of weights: downloaded once, into torch's own cache, checked by the hash in their name."""

import re
import socket
from pathlib import Path

import torch

from augment.base.errors import AugmentError
from augment.base.files import sha256_file

_CONNECT_TIMEOUT_S = 30.0  # torch sets none: a server that does not answer would block for ever


def cached_file(url: str) -> Path:
    """The path of the cached file of a URL, whether it exists or not."""
    return Path(torch.hub.get_dir()) / "checkpoints" / url.rpartition("/")[2]


def download(url: str, what: str, otherwise: str) -> Path:
    """The cached file of a URL, downloaded if absent. A name like ``vgg19-dcbb9e9d.pth`` states the start of its hash.

    A file that was put there by hand is checked like a download. Raises :class:`AugmentError` that names ``what`` it
    is, where to put the file, and the alternative, ``otherwise``.
    """
    path = cached_file(url)
    stated = re.search(r"-([0-9a-f]{8,})\.\w+$", path.name)
    if path.is_file():
        if stated and not (found := sha256_file(path)).startswith(stated[1]):
            raise AugmentError(f"{path}: is not {what}: its SHA-256 begins with {found[: len(stated[1])]}, not "
                               f"{stated[1]}. Delete it, then it is downloaded again.")  # fmt: skip
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(_CONNECT_TIMEOUT_S)
    try:
        torch.hub.download_url_to_file(url, str(path), hash_prefix=stated and stated[1], progress=False)
    except (OSError, RuntimeError) as error:  # no network, no such file; RuntimeError: another hash
        raise AugmentError(
            f"{what}: cannot be downloaded from {url} ({error}). Put that file at {path}, {otherwise}."
        ) from None
    finally:
        socket.setdefaulttimeout(before)
    return path
