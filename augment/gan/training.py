"""Training of the generator (Sec. 5): the loop, its files, and how it is resumed."""

import json
import math
import time
from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np
import torch

from augment.base.errors import AugmentError
from augment.base.files import remove
from augment.base.progress import progress, say
from augment.base.state import save_state
from augment.base.storage.copies import publish
from augment.config import GanConfig
from augment.gan import processes
from augment.gan.checkpoints import load_own_state, save_weights
from augment.gan.dataset import to_uint8
from augment.gan.folder import same_so_far, training_identity
from augment.gan.gallery import Examples, Gallery
from augment.gan.log import FILE as LOG
from augment.gan.log import log_line, open_log
from augment.gan.trainer import Trainer
from augment.manifest import file_problem, write_manifest
from augment.stage import readable

TABLE = "checkpoints.parquet"
EXAMPLES = 8  # test pairs in the gallery
EXPLODED = 1e3  # a loss that is so many times the first one


class Training:
    """A training and its files. Only the first process writes."""

    def __init__(self, section: GanConfig, origin: dict[str, Any], trainer: Trainer, folder: Path):
        self.section, self.origin, self.trainer, self.folder = section, origin, trainer, folder
        self.writes = processes.rank() == 0
        self.identity = training_identity(origin)
        self.records: list[dict[str, Any]] = []  # kept checkpoints, oldest first
        self.parent: str | None = origin["inputs"].get("start")  # hash of the newest weights
        self.first_losses: dict[str, float] | None = None
        self.last_log = (0, time.monotonic())
        table = folder / TABLE  # of a shorter training: who reads it meanwhile finds its files
        known = readable([table] if table.exists() else [])
        self.listed = {path for made in known for path in made.columns("path")["path"].to_pylist()}

    def resume(self, state_file: Path | None) -> None:
        """Resume from the folder's newest state, else from ``state_file``; without either, start afresh."""
        own = max(self.folder.glob("state-*.pt"), default=None)
        if own is None and state_file is None:
            return
        state = load_own_state(own or state_file, self.identity, self.trainer.device)
        self.trainer.restore(state["trainer"])
        self.parent, self.first_losses = state["parent"], state["first_losses"]
        if own is not None:
            self.records = state["records"]
            if self.writes:
                self._restore_files()
        elif self.trainer.iteration >= self.section.iterations:
            raise AugmentError(f"{state_file}: already has {self.trainer.iteration} iterations. Set gan.iterations to "
                               "more than that to resume from it.")  # fmt: skip
        elif not same_so_far(self.trainer.iteration, state["schedule"], self.section.identity()):
            raise AugmentError(f"{state_file}: its learning rate was falling already, or would be by now, and neither "
                               "gan.iterations nor gan.decay_iterations can be changed then. Set them to "
                               f"{state['schedule']['iterations']} and {state['schedule']['decay_iterations']}, or go "
                               "on from an earlier state.")  # fmt: skip
        say(f"gan: resuming after iteration {self.trainer.iteration} of {self.section.iterations}.")

    def run(self) -> None:
        """Train up to the configured number of iterations and write the manifest."""
        section, trainer = self.section, self.trainer
        log = gallery = None
        if self.writes:
            log = open_log(self.folder, trainer.iteration)
            gallery = Gallery(self.folder, self._examples(), self._title(), trainer.iteration)
            if trainer.iteration == 0:
                gallery.add(0, self._generate_examples())
        self.last_log = (trainer.iteration, time.monotonic())
        note = ""
        with progress("gan", section.iterations, trainer.iteration, "iterations") as advance:
            while trainer.iteration < section.iterations:
                trainer.step()
                done = trainer.iteration
                last = done == section.iterations
                if last or done % section.log_every == 0:
                    losses = self._checked(trainer.read_losses("log"))
                    note = "  ".join(f"{name} {value:.3g}" for name, value in losses.items())
                    if self.writes:
                        self._log(log, gallery, losses)
                # Samples first: a training that goes on from the checkpoint no longer passes here.
                if self.writes and (last or done % section.sample_every == 0):
                    gallery.add(done, self._generate_examples())
                if last or done % section.checkpoint_every == 0:
                    self._checkpoint()
                advance(1, note)
        if self.writes:
            log.close()
            publish(self.folder / LOG)
            gallery.write(finished=True)
            gallery.close()
            write_manifest(self.folder / TABLE, "checkpoints", self._rows(), self.origin)
            self._remove_others({file.name for file in self.folder.glob("state-*.pt")})

    def _checked(self, losses: dict[str, float]) -> dict[str, float]:
        """``losses``. Raises :class:`AugmentError` where they are not finite or have exploded."""
        self.first_losses = self.first_losses or losses
        for name, value in losses.items():
            if not math.isfinite(value) or abs(value) > EXPLODED * max(1.0, abs(self.first_losses[name])):
                self._stop(f"{name} is {value:.3g}, it was {self.first_losses[name]:.3g} at first")
        return losses

    def _stop(self, reason: str) -> None:
        good = f"The last good checkpoint is {self.folder / self.records[-1]['file']}." if self.records else (
            "There is no checkpoint yet.")  # fmt: skip
        advice = "another gan.seed, or a lower gan.learning_rate"
        if self.section.precision == "bf16":
            advice = "gan.precision=fp32, " + advice
        raise AugmentError(f"gan: training failed by iteration {self.trainer.iteration}: {reason}. {good} "
                           f"Try {advice}.")  # fmt: skip

    def _log(self, log: Any, gallery: Gallery, losses: dict[str, float]) -> None:
        now = time.monotonic()
        before, then = self.last_log
        rate = (self.trainer.iteration - before) / max(now - then, 1e-9)
        self.last_log = (self.trainer.iteration, now)
        line = {"iteration": self.trainer.iteration, **losses, "iterations_per_second": round(rate, 3)}
        log.write(log_line(line))
        log.flush()
        gallery.scalars(self.trainer.iteration, {**losses, "iterations_per_second": rate})

    def _checkpoint(self) -> None:
        """Weights, then state, then removal of what is superseded: whenever it is killed, it can be resumed."""
        if not self.trainer.is_finite():
            self._stop("a weight is not a number")
        losses = self._checked(self.trainer.read_losses("checkpoint"))
        if not self.writes:
            return
        iteration = self.trainer.iteration
        newest = {
            "iteration": iteration, "file": f"weights-{iteration:06d}.safetensors", "losses": losses,
            "validation": self.trainer.validate(), "parent": self.parent,
        }  # fmt: skip
        origin = self.origin
        newest["origin"] = {"config": origin["section"], "digest": origin["digest"], "inputs": origin["inputs"]}
        newest["sha256"] = self._save_weights(newest)
        self.parent = newest["sha256"]
        self.records.append(newest)
        best = self._best()
        steps = [record for record in self.records[:-1] if record is not best]
        steps = steps[max(0, len(steps) - self.section.keep_checkpoints) :]
        keep = [*steps, best, newest]
        self.records = [record for record in self.records if record in keep]
        state_file = self.folder / f"state-{iteration:06d}.pt"
        save_state(state_file, {
            "identity": json.dumps(self.identity), "trainer": self.trainer.state(), "records": self.records,
            "parent": self.parent, "first_losses": self.first_losses,
            "schedule": {"iterations": self.section.iterations, "decay_iterations": self.section.decay_iterations},
        })  # fmt: skip
        self._remove_others({state_file.name, *self.listed})
        publish(self.folder / LOG)

    def _remove_others(self, kept: Collection[str]) -> None:
        """Remove weights and states that are neither kept nor of the records."""
        records = {record["file"] for record in self.records}
        for file in [*self.folder.glob("weights-*.safetensors"), *self.folder.glob("state-*.pt")]:
            if file.name not in records and file.name not in kept:
                remove(file)

    def _save_weights(self, record: dict[str, Any]) -> str:
        header = {
            "system": self.section.system, "image_size": list(self.trainer.data.image_size),
            **record["origin"], **{name: record[name] for name in ("iteration", "losses", "validation", "parent")},
        }  # fmt: skip
        raw, average = self.trainer.generator.state_dict(), self.trainer.average.state_dict()
        return save_weights(self.folder / record["file"], raw, average, header)

    def _restore_files(self) -> None:
        """Write the newest weights again if they were lost: the state holds them. Older ones cannot be recovered."""
        for record in self.records:
            problem = file_problem(self.folder, record["file"], record["sha256"])
            if problem and record is self.records[-1]:
                self._save_weights(record)
            elif problem:
                raise AugmentError(f"{self.folder / problem}. Restore it, or delete {self.folder} to train from "
                                   "scratch.")  # fmt: skip

    def _best(self) -> dict[str, Any]:
        return min(self.records, key=lambda record: record["validation"])

    def _rows(self) -> list[dict[str, Any]]:
        last, best = self.records[-1], self._best()
        steps = [("step", record) for record in self.records if record is not last and record is not best]
        return [
            {
                "id": f"gan/{role}" if role != "step" else f"gan/step-{record['iteration']:06d}",
                "path": record["file"], "sha256": record["sha256"], "status": "ok", "reason": None, "role": role,
                "iteration": record["iteration"], "system": self.section.system, "config_digest": self.origin["digest"],
                "losses": json.dumps({**record["losses"], "validation": record["validation"]}, sort_keys=True),
                "parent": record["parent"],
            }
            for role, record in [("last", last), ("best", best), *steps]
        ]  # fmt: skip

    def _examples(self) -> Examples:
        data = self.trainer.data
        source, target = torch.from_numpy(self._example_pairs()).T.to(data.images.device)
        chosen = (data.images[source], data.joints[source], data.images[target], data.joints[target])
        return Examples(*(tensor.cpu().numpy() for tensor in chosen))

    def _generate_examples(self) -> Any:
        return to_uint8(self.trainer.generate(self._example_pairs())).cpu().numpy()

    def _example_pairs(self) -> np.ndarray:
        test = self.trainer.data.test
        return test[:: max(1, len(test) // EXAMPLES)][:EXAMPLES]

    def _title(self) -> str:
        size = "x".join(map(str, self.trainer.data.image_size))
        return f"{self.section.system} ({self.section.fidelity}), width {self.section.width:g}, {size}"
