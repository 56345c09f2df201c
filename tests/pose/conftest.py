"""Where the published key points lie, beside Market-1501 or in $MARKET1501_ANNOTATIONS."""

import os
from pathlib import Path

import pytest

_PROJECT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def market_root():
    root = Path(os.environ.get("MARKET1501_ROOT") or _PROJECT.parent / "data" / "Market-1501-v15.09.15")
    if not root.is_dir():
        pytest.skip("Market-1501 is not there")
    return root


@pytest.fixture(scope="session")
def published(market_root):
    folder = Path(os.environ.get("MARKET1501_ANNOTATIONS") or market_root.parent)
    files = {part: folder / f"market-annotation-{part}.csv" for part in ("train", "test")}
    if not all(file.is_file() for file in files.values()):
        pytest.skip("the published key points are not there")
    return files
