"""The generator's sections of the page: training curves, metrics, and example images."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from augment.base.errors import AugmentError
from augment.base.images import read_image
from augment.config import Config
from augment.gan.log import read_log
from augment.manifest import relative_path
from augment.quality import tables
from augment.quality.published import on_published_pairs, published
from augment.report.charts import Series, line_chart
from augment.report.data_set import published_layout
from augment.report.outcome import read_csv
from augment.report.pictures import data_uri, grid, picture
from augment.run import Run
from augment.synthesis.filtering import reasons

_KINDS = {"best": "Best", "typical": "Typical", "worst": "Worst"}
_SAMPLES = 6  # strips that show the training's course
_GAP = 2  # pixels between the pictures of a strip, and around them


def training(run: Run, page: Path) -> dict[str, Any] | None:
    """Loss curves from ``gan/log.jsonl``, samples during the training, and the address of the gallery on ``page``."""
    folder = run.folder / "gan"
    rows = read_log(folder)
    strips = sorted((folder / "samples").glob("*.jpg"))
    if not rows and not strips:
        return None
    table = pd.DataFrame(rows)
    names = [name for name in table.columns if name not in ("iteration", "iterations_per_second")]
    # Adversarial and reconstruction losses have different scales.
    groups = {
        "Adversarial losses": [name for name in names if "reconstruction" not in name],
        "Reconstruction loss": [name for name in names if "reconstruction" in name],
    }
    series = {name: Series(_words(name), table["iteration"], table[name]) for name in names}
    charts = [
        (title, line_chart(title, [series[name] for name in losses], "iteration")) for title, losses in groups.items()
    ]
    shown = (
        [strips[place] for place in sorted({round(x) for x in np.linspace(0, len(strips) - 1, _SAMPLES)})]
        if strips
        else []
    )
    return {
        "charts": [(title, chart) for title, chart in charts if chart],
        "samples": [(strip.stem.lstrip("0") or "0", uri) for strip in shown if (uri := _uri(run, strip))],
        "gallery": relative_path(gallery, page.parent) if (gallery := folder / "gallery.html").exists() else None,
    }


def quality(run: Run, config: Config) -> dict[str, Any] | None:
    """Every metric by arm with its interval, paired differences, missing metrics, and published figures."""
    table = quality_table(run)
    if table is None:
        return None
    layout, pairs = published_layout(run, config), tables.measured_pairs(run.frames["quality"])
    same_pairs = on_published_pairs(config, pairs)
    return {
        "pairs": pairs,
        "by_metric": tables.by_metric(table),
        "differences": tables.differences(table),
        "not_measured": tables.not_measured(table),
        "beside": None if published(layout).empty else tables.beside(table, layout, same_pairs),
        "same_pairs": same_pairs,
        "against_source": _against_source(run),
    }


def quality_table(run: Run) -> pd.DataFrame | None:
    """The stage's ``table.csv``; None where it has not run, or had no pairs."""
    if "quality" not in run.frames or run.frames["quality"].empty:
        return None
    return read_csv(run, "quality/table.csv")


def examples(run: Run, count: int) -> list[dict[str, Any]]:
    """Strips of the best, typical and worst images, ``count`` of each."""
    table = read_csv(run, "quality/examples.csv")
    if table is None or "quality" not in run.manifests:
        return []
    groups = []
    for kind, title in _KINDS.items():
        rows = table[table["kind"] == kind].head(count)
        strips = [
            {**pictures, "from": row["from"], "to": row["to"], "score": f"{row['ssim_released']:.3f}"}
            for row in rows.to_dict("records")
            if (pictures := _strip(run, run.folder / "quality" / row["file"]))
        ]
        if strips:
            groups.append({"title": title, "strips": strips})
    return groups


def _strip(run: Run, path: Path) -> dict[str, str] | None:
    """A strip in three: source and poses, target, generated. It is five pictures of one width with gaps."""
    try:
        strip = read_image(path)
    except AugmentError as error:
        run.problems.append(str(error))
        return None
    inside = strip[_GAP:-_GAP, _GAP:-_GAP]
    width = (inside.shape[1] + _GAP) // 5
    before, target, generated = inside[:, : 3 * width - _GAP], inside[:, 3 * width :], inside[:, 4 * width :]
    return {
        "src": data_uri(before), "target": data_uri(target[:, : width - _GAP]),
        "generated": data_uri(generated[:, : width - _GAP]),
    }  # fmt: skip


def synthetic(run: Run, count: int) -> dict[str, Any] | None:
    """Random source images with all images generated from them, each with its pose source."""
    if "synthetic" not in run.frames or run.frames["synthetic"].empty:
        return None
    rows = run.frames["synthetic"]
    groups = []
    for source, made in _random_sources(rows, count):
        images = [
            {"id": row.id, "src": data_uri(picture(run, "synthetic", row.id)), "pose_id": row.pose_source,
             "pose": data_uri(picture(run, "images", row.pose_source, pose=True))}
            for row in made.itertuples()
        ]  # fmt: skip
        groups.append({"id": source, "src": data_uri(picture(run, "images", source)), "images": images})
    return {
        "total": len(rows), "failed": int((rows["status"] == "failed").sum()),
        "sources": rows.loc[rows["status"] == "ok", "source"].nunique(),
        "left_out": reasons(rows),
        "groups": groups,
    }  # fmt: skip


def _random_sources(rows: pd.DataFrame, count: int) -> Iterator[tuple[str, pd.DataFrame]]:
    """The same ones at each call, with the rows of their synthetic images."""
    good = rows[rows["status"] == "ok"]
    sources = np.array(sorted(good["source"].unique()), dtype=object)
    chosen = np.random.default_rng(0).permutation(len(sources))[:count]
    for source in sources[np.sort(chosen)]:
        yield source, good[good["source"] == source].sort_values("rank")


def contact_sheet(run: Run, count: int = 4) -> np.ndarray | None:
    """A row for each of some random sources: the image, then those generated from it. None where there are none."""
    if "synthetic" not in run.frames:
        return None
    rows = [[picture(run, "images", source), *(picture(run, "synthetic", id) for id in made["id"])]
            for source, made in _random_sources(run.frames["synthetic"], count)]  # fmt: skip
    return grid(rows) if rows else None


def _against_source(run: Run) -> dict[str, Any] | None:
    """The number of pairs whose generated image is closer to the target than the source image is."""
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
