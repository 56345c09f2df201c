"""The rounds of a study's users: in which order each sees the images, and their answers, in memory and in the journal.

A user's state is the number of their answers in the journal; the order of images is a function of the user's id.
Errors are HTTP statuses.
"""

import asyncio
import secrets
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fastapi import HTTPException
from pydantic import BaseModel, Field

from augment.base.files import read_file
from augment.base.progress import say
from augment.manifest import read_manifest
from augment.study.answers import JOURNAL, Journal, read_journal, write_answers
from augment.study.protocol import presentation_order


class Answer(BaseModel):
    """What the page sends: the place in the user's order, the answer, and times by the browser's clock."""

    place: int = Field(ge=0)
    said_generated: bool
    shown_ms: float = Field(ge=0, le=1e9)
    reaction_ms: float = Field(ge=0, le=1e9)


@dataclass
class _Round:
    order: list[str]
    answers: list[dict[str, Any]]
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)  # the second of two equal answers waits for the first

    @property
    def finished(self) -> bool:
        return len(self.answers) == len(self.order)


class Rounds:
    """All rounds of a study that :func:`augment.study.stimuli.make_stimuli` has made in ``folder``."""

    def __init__(self, folder: Path) -> None:
        manifest = read_manifest(folder / "stimuli.parquet", "stimuli")
        self.folder = folder
        self._stimuli = manifest.frame()
        ids = self._stimuli["id"]
        self._generated = dict(zip(ids, self._stimuli["generated"].astype(bool), strict=True))
        self.training = int(self._stimuli["training"].sum())
        self.trials = len(ids)
        paths = zip(ids, self._stimuli["path"], strict=True)
        self.images = {id: read_file(manifest.file_of(path)) for id, path in paths}  # PNG files by stimulus
        self._rounds = {id: self._round(id, answers) for id, answers in read_journal(folder / JOURNAL).items()}
        self._journal = Journal(folder / JOURNAL)

    def close(self) -> None:
        """Close the journal and write the table of answers."""
        self._journal.close()
        write_answers(self.folder)

    async def begin(self) -> str:
        """The id of a new user."""
        user = secrets.token_hex(8)
        await self._append({"user": user})
        self._rounds[user] = self._round(user, [])
        return user

    def state(self, user: str) -> dict[str, Any]:
        """Order, place, and the result of a user who has finished."""
        return {"order": self._of(user).order, **self._progress(self._of(user))}

    async def take(self, user: str, answer: Answer) -> dict[str, Any]:
        """Record an answer; returns the truth, during the training, and the user's progress.

        An answer that is recorded already (a double key, or sent again) changes nothing.
        """
        own = self._of(user)
        async with own.lock:
            if answer.place > len(own.answers) or answer.place >= len(own.order):
                raise HTTPException(409, f"The next answer is number {len(own.answers)}, not {answer.place}.")
            stimulus = own.order[answer.place]
            if answer.place == len(own.answers):
                record = {"stimulus": stimulus, **answer.model_dump(exclude={"place"})}
                await self._append({"user": user, **record})
                own.answers.append(record)
                if own.finished:
                    finished = sum(other.finished for other in self._rounds.values())
                    say(f"study: {finished} finished, {len(self._rounds) - finished} unfinished")
        truth = self._generated[stimulus] if answer.place < self.training else None
        return {"generated": truth, **self._progress(own)}

    def _of(self, user: str) -> _Round:
        if user not in self._rounds:
            raise HTTPException(404, "This user is not known here.")
        return self._rounds[user]

    def _round(self, user: str, answers: list[dict[str, Any]]) -> _Round:
        return _Round(presentation_order(self._stimuli, user), answers)

    async def _append(self, record: dict[str, Any]) -> None:
        try:
            await self._journal.append(record)
        except OSError as error:
            raise HTTPException(507, f"The answer could not be saved: {error.strerror}.") from None

    def _progress(self, own: _Round) -> dict[str, Any]:
        return {"place": len(own.answers), "result": self._result(own) if own.finished else None}

    def _result(self, own: _Round) -> dict[str, int]:
        """What a user who has finished is shown: errors of either kind, and the number of images of each kind."""
        test = [(self._generated[answer["stimulus"]], answer["said_generated"])
                for answer in own.answers[self.training:]]  # fmt: skip
        return {
            "real_as_generated": sum(said and not generated for generated, said in test),
            "generated_as_real": sum(generated and not said for generated, said in test),
            "of_each": len(test) // 2,
        }
