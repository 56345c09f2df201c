"""The paper's protocol (Sec. 6.2): number, duration and order of the images."""

import random

import pandas as pd
from pydantic import Field

from augment.config import Section

EXPOSURE_MS = 1000  # of each image


class Protocol(Section):
    """The numbers of images of each kind, real and generated, in a round."""

    images: int = Field(55, ge=1)
    training: int = Field(10, ge=0)  # before them, with the answers shown; not counted
    seed: int = 0  # of the choice of images


def presentation_order(stimuli: pd.DataFrame, user: str) -> list[str]:
    """Ids of the stimuli in the order in which a user sees them: training first, both parts shuffled for each user."""
    shuffler = random.Random(user)
    order: list[str] = []
    for part in (stimuli[stimuli["training"]], stimuli[~stimuli["training"]]):
        ids = sorted(part["id"])
        shuffler.shuffle(ids)
        order += ids
    return order
