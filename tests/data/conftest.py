from pathlib import Path

import pytest
from tiny_market import NAMES, jpeg

from augment.data.layouts import MARKET_FOLDERS


@pytest.fixture
def market(tmp_path: Path) -> Path:
    """A tiny data set in Market-1501's layout, Thumbs.db included."""
    root = tmp_path / "exp2_c1" / "data"  # a folder that looks like an identity must not matter
    for split, names in NAMES.items():
        folder = root / MARKET_FOLDERS[split]
        folder.mkdir(parents=True)
        (folder / "Thumbs.db").write_bytes(b"\xd0\xcf")
        for number, name in enumerate(names):
            (folder / name).write_bytes(jpeg(40 * number))
    return root
