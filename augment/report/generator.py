"""The generator's part of the page: how it trained, how close it comes, and what its images look like."""

from typing import Any

import numpy as np
import pandas as pd

from augment.base.errors import AugmentError
from augment.base.files import read_image
from augment.config import Config
from augment.gan.log import read_log
from augment.quality.registry import METRICS, find_metric
from augment.report.charts import Series, line_chart
from augment.report.outcome import read_csv
from augment.report.pictures import data_uri, grid, picture
from augment.report.published import QUALITY
from augment.run import Run
from augment.synthesis.filtering import reasons

_KINDS = {"best": "Best", "typical": "Typical", "worst": "Worst"}
_SAMPLES = 6  # strips that show the training's course
_COPIED = "source copied"


def training(run: Run) -> dict[str, Any] | None:
    """Loss curves from ``gan/log.jsonl``, samples over time, and whether there is a gallery to link to."""
    folder = run.folder / "gan"
    rows = read_log(folder)
    strips = sorted((folder / "samples").glob("*.jpg"))
    if not rows and not strips:
        return None
    table = pd.DataFrame(rows)
    names = [name for name in table.columns if name not in ("iteration", "iterations_per_second")]
    # The adversarial game and the reconstruction live on different scales.
    groups = {
        "Adversarial game": [name for name in names if "reconstruction" not in name],
        "Reconstruction": [name for name in names if "reconstruction" in name],
    }
    charts = [
        (title, line_chart(title, [Series(_words(one), table["iteration"], table[one]) for one in some], "iteration"))
        for title, some in groups.items()
    ]
    shown = (
        [strips[place] for place in sorted({round(x) for x in np.linspace(0, len(strips) - 1, _SAMPLES)})]
        if strips
        else []
    )
    return {
        "charts": [(title, chart) for title, chart in charts if chart],
        "samples": [(strip.stem.lstrip("0") or "0", uri) for strip in shown if (uri := _uri(run, strip))],
        "gallery": "gan/gallery.html" if (folder / "gallery.html").exists() else None,
    }


def quality(run: Run, config: Config) -> dict[str, Any] | None:
    """Every metric by arm, with published figures of the same variant beside it."""
    if "quality" not in run.frames or run.frames["quality"].empty:
        return None
    metrics = run.frames["quality"]
    values = metrics.pivot_table(index="metric", columns="arm", values="value", aggfunc="first")
    arms = [arm for arm in values.columns if arm not in (_COPIED, "real target")]
    arms += [arm for arm in (_COPIED, "real target") if arm in values.columns]
    published = QUALITY.get(config.data.layout, {})
    rows = [
        {
            "metric": _title(metric),
            "variant": metric,
            "cells": ["" if np.isnan(values.loc[metric, arm]) else _figure(values.loc[metric, arm]) for arm in arms],
            "published": "; ".join(f"{system} {_figure(value)}" for system, value in published.get(metric, ())),
        }
        for metric in sorted(values.index, key=_order)
        if metric != "pairs"
    ]
    return {
        "arms": arms,
        "pairs": int(values.loc["pairs"].max()) if "pairs" in values.index else 0,
        "rows": rows,
        "published": any(row["published"] for row in rows),
        "against_source": _against_source(run),
    }


def examples(run: Run, count: int) -> list[dict[str, Any]]:
    """Strips of the best, typical and worst images, ``count`` of each."""
    table = read_csv(run, "quality/examples.csv")
    if table is None or "quality" not in run.manifests:
        return []
    groups = []
    for kind, title in _KINDS.items():
        rows = table[table["kind"] == kind].head(count)
        strips = [
            {"src": uri, "from": row["from"], "to": row["to"], "score": _figure(row["ssim_released"])}
            for row in rows.to_dict("records")
            if (uri := _uri(run, run.folder / "quality" / row["file"]))
        ]
        if strips:
            groups.append({"title": title, "strips": strips})
    return groups


def synthetic(run: Run, count: int) -> dict[str, Any] | None:
    """Random source images with all that was made of them: pose sources above, generated images below."""
    if "synthetic" not in run.frames or run.frames["synthetic"].empty:
        return None
    rows = run.frames["synthetic"]
    good = rows[rows["status"] == "ok"]
    sources = np.array(sorted(good["source"].unique()), dtype=object)
    chosen = np.random.default_rng(0).permutation(len(sources))[:count]
    groups = []
    for source in sources[np.sort(chosen)]:
        made = good[good["source"] == source].sort_values("rank")
        poses = [picture(run, "images", id, pose=True) for id in made["pose_source"]]
        images = [picture(run, "synthetic", id) for id in made["id"]]
        groups.append(
            {"id": source, "src": data_uri(grid([[picture(run, "images", source), *poses], [None, *images]]))}
        )
    return {
        "total": len(rows), "failed": int((rows["status"] == "failed").sum()), "sources": len(sources),
        "left_out": reasons(rows),
        "groups": groups,
    }  # fmt: skip


def _against_source(run: Run) -> dict[str, Any] | None:
    """On how many pairs the generated image is closer to the target than the source image is."""
    table = read_csv(run, "quality/per_pair.csv")
    if table is None or table.empty or "copied_ssim_released" not in table:
        return None
    gain = table["ssim_released"] - table["copied_ssim_released"]
    return {
        "share": f"{(gain > 0).mean():.0%}",
        "mean": f"{gain.mean():+.3f}".replace("-", "−"),
        "better": gain.mean() > 0,
    }


def _uri(run: Run, path: Any) -> str | None:
    try:
        return data_uri(read_image(path))
    except AugmentError as error:
        run.problems.append(str(error))
        return None


def _words(name: str) -> str:
    return name.replace("_", " ")


def _title(name: str) -> str:
    metric = find_metric(name)
    return f"{metric.title} ({metric.better} is better)" if metric else name


def _order(name: str) -> int:
    metric = find_metric(name)
    return METRICS.index(metric) if metric else len(METRICS)


def _figure(value: float) -> str:
    return f"{value:.3f}"
