"""The ranking of a gallery under the name that scripts outside this repository import (docs/architecture.md)."""

from augment.retrieval.evaluation import Ranking, rank

__all__ = ["Ranking", "rank"]
