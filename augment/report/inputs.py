"""The inputs' sections of the page: images, poses and their detection rates, settings, failures, lineage."""

from typing import Any

import numpy as np
import pyarrow.compute as pc

from augment.config import Config, differences
from augment.manifest import joint_columns
from augment.pose.skeleton import JOINTS
from augment.report.charts import bar_chart
from augment.run import TABLES, Run

_FAILURES_SHOWN = 25
_DIGEST = 12  # characters of a digest that people can compare by eye


def images(run: Run) -> list[dict[str, Any]] | None:
    """A row per split: images, people, cameras."""
    if "images" not in run.frames:
        return None
    rows = run.frames["images"]
    lines = []
    for split in ("train", "query", "gallery"):
        some = rows[rows["split"] == split]
        good = some[some["status"] == "ok"]
        people = good[good["pid"] > 0]
        lines.append({
            "split": split, "images": len(good), "people": people["pid"].nunique(),
            "cameras": people["camid"].nunique(), "others": len(good) - len(people), "failed": len(some) - len(good),
        })  # fmt: skip
    return lines


def pairs(run: Run) -> dict[str, int]:
    """Split -> number of pairs."""
    if "pairs" not in run.manifests:
        return {}
    found = run.manifests["pairs"].columns("split")["split"]
    return {split: pc.sum(pc.equal(found, split)).as_py() or 0 for split in ("train", "test")}


def poses(run: Run) -> dict[str, Any] | None:
    """The detection report: verdicts by split, and the detection rate of each joint."""
    if "poses" not in run.frames or run.frames["poses"].empty:
        return None
    rows = run.frames["poses"][["status", "verdict", "people", "accepted", "estimator"]]
    rows = rows.assign(split=run.frames["poses"]["id"].str.partition("/")[0],
                       verdict=rows["verdict"].str.partition(":")[0])  # fmt: skip
    counts = rows.pivot_table(index="verdict", columns="split", values="status", aggfunc="count", fill_value=0)
    verdicts = sorted(counts.index, key=lambda verdict: (verdict != "ok", -counts.loc[verdict].sum(), verdict))
    good = rows[rows["status"] == "ok"]
    chart = ""
    if len(good):
        joints = joint_columns(run.manifests["poses"].columns("x"), "x")[good.index, :, 0]
        found = np.isfinite(joints).mean(axis=0)
        named = [(name.replace("_", " "), float(share)) for name, share in zip(JOINTS, found, strict=True)]
        chart = bar_chart("Share of images in which each joint was found", named)
    by_split = {verdict: [int(count) for count in counts.loc[verdict]] for verdict in verdicts}
    return {
        "splits": list(counts.columns),
        "verdicts": [("accepted" if verdict == "ok" else verdict, numbers) for verdict, numbers in by_split.items()],
        "accepted": f"{rows['accepted'].mean():.1%}",
        "several": int((good["people"] > 1).sum()),
        "estimator": ", ".join(sorted(map(str, rows["estimator"].dropna().unique()))),
        "chart": chart,
    }


def settings(config: Config) -> list[tuple[str, str]]:
    """All keys that differ from their defaults, but for name and output."""
    return [(key, str(value)) for key, value in differences(config).items() if key not in ("name", "output")]


def commands(run: Run, config: Config) -> dict[str, str]:
    """Stage -> the command that made its table, as it can be pasted; the study's shows its figures again."""
    made = {stage: str(manifest.provenance.get("command", "")) for stage, manifest in run.manifests.items()}
    return {stage: made.get(stage, "") for stage in TABLES} | {"study": f"augment study {config.folder} --results"}


def failures(run: Run) -> dict[str, Any] | None:
    """Rows with status "failed", counted by reason, and the first of them."""
    found = []
    for stage, rows in run.frames.items():
        if "status" in rows:
            failed = rows[rows["status"] == "failed"]
            found += [
                (stage, str(id), str(reason or "")) for id, reason in zip(failed["id"], failed["reason"], strict=True)
            ]
    if not found:
        return None
    counts: dict[tuple[str, str], int] = {}
    for stage, _, reason in found:
        counts[stage, reason] = counts.get((stage, reason), 0) + 1
    return {
        "total": len(found),
        "counts": sorted(
            ((stage, reason, count) for (stage, reason), count in counts.items()), key=lambda row: -row[2]
        )[:10],
        "rows": found[:_FAILURES_SHOWN],
    }


def lineage(run: Run) -> dict[str, Any] | None:
    """The inputs of each table, and whether they are still the tables in the folder."""
    if not run.manifests:
        return None
    digests = {stage: manifest.digest for stage, manifest in run.manifests.items()}
    rows, packages = [], {}
    for stage, manifest in run.manifests.items():
        origin = manifest.provenance
        packages |= origin.get("packages", {})
        rows.append({
            "stage": stage, "rows": manifest.num_rows, "content": digests[stage][:_DIGEST],
            "identity": str(origin.get("digest", ""))[:_DIGEST], "command": origin.get("command", ""),
            "inputs": [
                {"name": name, "digest": digest[:_DIGEST], "stale": _is_stale(name, digest, digests)}
                for name, digest in sorted(origin.get("inputs", {}).items())
            ],
        })  # fmt: skip
    return {"rows": rows, "packages": sorted(packages.items())}


def _is_stale(name: str, digest: str, digests: dict[str, str]) -> bool:
    """Whether the input is a table of this run that has changed since."""
    stage = {table: stage for stage, table in TABLES.items() if table != "metrics"}.get(name, name)
    return stage in digests and digests[stage] != digest
