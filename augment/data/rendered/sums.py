"""The SHA-256 of a rendered set's files, in the format of ``sha256sum``: what is damaged is rendered again."""

from collections.abc import Iterable
from pathlib import Path

from augment.base.files import atomic_write, sha256_file
from augment.base.storage.copies import fetch_all

FILE = "SHA256SUMS"


def write_sums(root: Path, names: Iterable[str]) -> None:
    """Note the content of these files of the set."""
    with atomic_write(root / FILE) as out:
        for name in names:
            out.write(f"{sha256_file(root / name)}  {name}\n".encode())


def damaged(root: Path, names: Iterable[str]) -> list[str]:
    """Those of these files whose content is not what was noted; none where nothing was: the set is not complete."""
    try:
        lines = (root / FILE).read_text(encoding="utf-8", errors="replace").splitlines()
    except FileNotFoundError:
        return []
    names = list(names)
    fetch_all(root / name for name in names)
    noted = {name: sha256 for sha256, _, name in (line.partition("  ") for line in lines)}
    return [name for name in names if _content(root / name) != noted.get(name)]


def _content(path: Path) -> str | None:
    try:
        return sha256_file(path)
    except OSError:
        return "unreadable"
