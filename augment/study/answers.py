"""Answers on disk: a journal to which they are appended, and the table made of it.

The journal, ``answers.jsonl``, is authoritative: an answer is synced to disk before it is confirmed. The table is
rebuilt from it when the server ends, for the results and for the report.
"""

import asyncio
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import pandas as pd

from augment.base.errors import AugmentError
from augment.base.seals import read_sealed_json, sealed_json
from augment.manifest import Manifest, read_manifest, write_manifest
from augment.stage import provenance
from augment.study.protocol import Protocol

JOURNAL = "answers.jsonl"

_VERSION = 1


class Journal:
    """Lines appended to a file, by a single process: all waiting lines are written and synced together."""

    def __init__(self, path: Path) -> None:
        """Opens the file; an incomplete last line, of a killed process, is cut off."""
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
        self._size = path.read_bytes().rfind(b"\n") + 1
        os.ftruncate(self._file, self._size)
        self._waiting: list[tuple[bytes, asyncio.Future[None]]] = []
        self._writer: asyncio.Task[None] | None = None

    async def append(self, record: Mapping[str, Any]) -> None:
        """Returns when the record is on disk. Raises OSError where it could not be written; it is then not there."""
        done = asyncio.get_running_loop().create_future()
        self._waiting.append((sealed_json(record).encode() + b"\n", done))
        if self._writer is None or self._writer.done():
            self._writer = asyncio.create_task(self._write_waiting())
        await done

    async def _write_waiting(self) -> None:
        while self._waiting:
            batch, self._waiting = self._waiting, []
            try:
                await asyncio.to_thread(self._write, b"".join(line for line, _ in batch))
            except OSError as error:
                for _, done in batch:
                    if not done.done():
                        done.set_exception(error)
            else:
                for _, done in batch:
                    if not done.done():  # a user's connection may have been cut meanwhile
                        done.set_result(None)

    def _write(self, lines: bytes) -> None:
        try:
            written = 0
            while written < len(lines):
                written += os.write(self._file, lines[written:])
            os.fsync(self._file)
        except OSError:
            with suppress(OSError):  # the first error is the one to tell
                os.ftruncate(self._file, self._size)
            raise
        self._size += len(lines)

    def close(self) -> None:
        """Closes the file."""
        os.close(self._file)


def read_journal(path: Path) -> dict[str, list[dict[str, Any]]]:
    """User -> answers in their order, from the complete lines of a journal; {} where there is none.

    A line without an answer records that a user has started. Raises :class:`AugmentError` that names a damaged line.
    """
    if not path.exists():
        return {}
    users: dict[str, list[dict[str, Any]]] = {}
    for number, line in enumerate(path.read_bytes().split(b"\n")[:-1], 1):
        try:
            record = read_sealed_json(line)
            answers = users.setdefault(record.pop("user"), [])
        except (ValueError, KeyError, TypeError, AttributeError):
            raise AugmentError(f"{path}, line {number}: damaged. Restore the file, or remove that line.") from None
        if record:
            answers.append(record)
    return users


def write_answers(folder: Path) -> Manifest:
    """Make ``answers.parquet`` of a study's journal; returns the table. Without answers it is empty.

    Raises :class:`AugmentError` where the study has not been made yet.
    """
    stimuli = read_manifest(folder / "stimuli.parquet", "stimuli")
    frame = stimuli.frame()
    protocol = Protocol.model_validate(stimuli.provenance["section"])
    truth = frame[["id", "generated", "training"]].rename(columns={"id": "stimulus"})
    rows = [
        {"id": f"{user}/{place:03d}", "user": user, "place": place, **answer}
        for user, answers in read_journal(folder / JOURNAL).items()
        for place, answer in enumerate(answers)
    ]
    columns = ["id", "user", "place", "stimulus", "said_generated", "shown_ms", "reaction_ms"]
    given = pd.DataFrame(rows, columns=columns)
    table = given.merge(truth, on="stimulus")
    if len(table) < len(given):
        raise AugmentError(f"{folder}: {len(given) - len(table)} of {len(given)} answers are to images that the study "
                           "no longer has. Restore its stimuli.parquet and images.")  # fmt: skip
    origin = provenance("answers", _VERSION, protocol, {"stimuli": stimuli})
    return write_manifest(folder / "answers.parquet", "answers", table, origin)
