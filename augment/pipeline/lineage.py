"""Lineage: from any row of a manifest back to its origins."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.compute as pc
from rich.tree import Tree

from augment.base.errors import AugmentError
from augment.base.progress import say
from augment.manifest import SCHEMAS, SORT_KEYS, Manifest, read_manifest, verify
from augment.pipeline.stages import STAGES

_PARENTS = {"source": "source image", "pose_source": "pose taken from"}


def manifests_of(run: Path) -> Iterator[Manifest]:
    """The existing manifests of a run, in the order of the stages."""
    for stage in STAGES:
        path = stage.path(run)
        if path.exists():
            yield Manifest(path)


def problems_of(run: Path) -> Iterator[tuple[Path, int, list[str]]]:
    """Every existing table of a run: its path, number of rows, and the problems of the table and its files."""
    for stage in STAGES:
        path = stage.path(run)
        if os.path.lexists(path):
            yield problems_of_table(path, stage.table)


def problems_of_table(path: Path, kind: str | None = None) -> tuple[Path, int, list[str]]:
    """As :func:`problems_of`, for a single table."""
    try:
        manifest = read_manifest(path, kind)
    except AugmentError as error:
        return path, 0, [str(error)]
    found = verify(manifest)
    return path, manifest.num_rows, [f"{row.id}: {row.problem}" for row in found.itertuples()]


def find_run(row_id: str, outputs: Path = Path("outputs")) -> Path:
    """The only run that has that row. Raises :class:`AugmentError` where none has it, or several have."""
    runs = [run for run in sorted(outputs.glob("*")) if any(_has(manifest, row_id) for manifest in manifests_of(run))]
    if not runs:
        raise AugmentError(f"{row_id}: no run in {outputs}/ has a row with this id. Name the run with --run FOLDER.")
    if len(runs) > 1:
        found = ", ".join(map(str, runs))
        raise AugmentError(f"{row_id}: is in {len(runs)} runs ({found}). Choose one with --run FOLDER.")
    return runs[0]


def _has(manifest: Manifest, row_id: str) -> bool:
    """Of a damaged table, which may be another run's, this is said and it counts as without the row."""
    try:
        return manifest.row(row_id) is not None
    except AugmentError as error:
        say(f"{error} It is left out of the search.")
        return False


def trace(run: Path, row_id: str) -> Tree:
    """The origins of a row: rows that it refers to, the configuration of its stage, the input files of these stages.

    Raises :class:`AugmentError` where no manifest of the run has that row.
    """
    tables = {manifest.path.parent.name: manifest for manifest in manifests_of(run)}
    if not tables:
        raise AugmentError(f"{run}: holds no manifest. Give the folder of a run, like outputs/demo.")
    for stage in reversed(tables):  # an image and its pose share their id: the later stage's row says more
        row = tables[stage].row(row_id)
        if row is not None:
            return _grow(Tree(f"{row_id}  ({run})"), stage, row, tables)
    raise AugmentError(f"{run}: no row with the id {row_id}. Ids look like train/0002_c1s1_000451_03 or "
                       "synthetic/0002_c1s1_000451_03g0; `augment manifest show` lists them.")  # fmt: skip


def _grow(tree: Tree, stage: str, row: dict[str, Any], tables: dict[str, Manifest]) -> Tree:
    """Add the origins of a row of that stage's manifest to ``tree``."""
    manifest = tables[stage]
    if "path" in row:
        tree.add(_file(manifest, row))
    if row.get("status") == "failed":
        tree.add(f"failed: {row['reason']}")
    hidden = {"id", "path", "sha256", "status", "reason", "x", "y", "confidence", "losses", "config_digest",
              "checkpoint"}  # fmt: skip
    shown = {name: value for name, value in row.items() if name not in hidden | _PARENTS.keys() and value is not None}
    tree.add(", ".join(f"{name} {value}" for name, value in shown.items()))
    for column, title in _PARENTS.items():
        if row.get(column) is not None:
            _image(tree.add(f"{title}: {row[column]}"), row[column], column == "pose_source", tables)
    if stage == "synthetic":
        _checkpoint(tree, row["checkpoint"], tables)
    if stage == "poses":
        _image(tree.add(f"image: {row['id']}"), row["id"], False, tables)
    _made_by(tree, manifest)
    return tree


def _image(tree: Tree, image_id: str, with_pose: bool, tables: dict[str, Manifest]) -> None:
    for stage in ("images", "poses") if with_pose else ("images",):
        row = tables[stage].row(image_id) if stage in tables else None
        if row is None:
            tree.add(f"not in the manifest of {stage} any more: run the pipeline again")
        elif stage == "images":
            tree.add(_file(tables[stage], row))
            tree.add(f"person {row['pid']}, camera {row['camid']}, {row['width']}x{row['height']}")
        else:
            checkpoint = f", checkpoint {row['checkpoint'][:16]}" if row["checkpoint"] else ""
            pose = tree.add(f"pose by {row['estimator']}{checkpoint}: {row['verdict']}")
            _made_by(pose, tables[stage])


def _checkpoint(tree: Tree, sha256: str, tables: dict[str, Manifest]) -> None:
    branch = tree.add(f"generator: checkpoint sha256 {sha256[:16]}")
    if "gan" not in tables:
        branch.add("the run has no manifest of checkpoints any more")
        return
    manifest = tables["gan"]
    rows = manifest.table.filter(pc.field("sha256") == sha256).to_pylist()
    if not rows:
        branch.add("not among the run's present checkpoints: the generator was trained again since")
        return
    branch.add(_file(manifest, rows[0]))
    roles = " and ".join(row["role"] for row in rows)  # the last may be the best as well
    branch.add(f"system {rows[0]['system']}, iteration {rows[0]['iteration']}, {roles}")
    _made_by(branch, manifest)


def _made_by(tree: Tree, manifest: Manifest) -> None:
    origin = manifest.provenance
    branch = tree.add(f"made by stage {origin['stage']}, digest {origin['digest'][:16]}")
    branch.add(f"command: {origin['command']}")
    branch.add(f"configuration: {json.dumps(origin['section'])}")
    for name, digest in origin["inputs"].items():
        branch.add(f"input {name}: {digest[:16]}")


def _file(manifest: Manifest, row: dict[str, Any]) -> str:
    return f"file: {os.path.normpath(manifest.file_of(row['path']))}, sha256 {str(row['sha256'])[:16]}"


def describe(manifest: Manifest) -> str:
    """A summary of a manifest and its provenance, in a few lines."""
    origin = manifest.provenance
    lines = [
        f"{manifest.path}: manifest of {manifest.kind}, {manifest.num_rows:,} rows, digest {manifest.digest[:16]}",
        f"stage {origin['stage']} (version {origin['version']}), stage digest {origin['digest'][:16]}",
        f"command: {origin['command']}",
        f"configuration: {json.dumps(origin['section'])}",
        *(f"input {name}: {digest[:16]}" for name, digest in origin["inputs"].items()),
        "packages: " + ", ".join(f"{name} {version}" for name, version in origin["packages"].items()),
        f"sorted by {', '.join(SORT_KEYS.get(manifest.kind, ['id']))}",
        f"columns {', '.join(SCHEMAS[manifest.kind].names)}",
    ]
    return "\n".join(lines)
