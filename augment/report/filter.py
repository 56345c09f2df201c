"""The filter of generated images in the report: distributions of the scores, and the best and worst rejected images."""

from typing import Any

from augment.base.errors import AugmentError
from augment.config import Config
from augment.manifest import read_manifest
from augment.report.charts import histogram
from augment.report.pictures import data_uri, grid, picture
from augment.run import Run
from augment.synthesis.filtering import NAMES
from augment.synthesis.scoring import FILE

_TITLES = {
    "similarity": "Cosine to the source", "margin": "Cosine similarity to its own person minus that to another",
    "pose": "Share of joints at their target", "person": "Estimator's mean confidence",
    "sharpness": "Variance of the Laplacian relative to the source's",
}  # fmt: skip


def filtered(run: Run, config: Config, count: int) -> dict[str, Any] | None:
    """Histograms of the scores with the thresholds, and the best and worst ``count`` rejected; None: no filter."""
    if "synthetic" not in run.manifests or FILE not in run.manifests["synthetic"].files:
        return None
    try:
        scores = read_manifest(run.folder / "synthetic" / FILE, "scores").frame()
    except AugmentError as error:
        run.problems.append(str(error))
        return None
    rows = scores.merge(run.frames["synthetic"][["id", "source", "kept", "verdict"]], on="id")
    section = config.synthesis.filter
    charts = [
        (_TITLES[name], histogram(_TITLES[name], rows.loc[rows["kept"], name], rows.loc[~rows["kept"], name],
                                  getattr(section, name)))
        for name in NAMES
    ]  # fmt: skip
    rejected = rows[~rows["kept"]].sort_values([section.scores[0], "id"] if section.scores else "id")
    groups = [("Best of those left out", rejected.iloc[::-1].head(count)), ("Worst", rejected.head(count))]
    return {
        "kept": int(rows["kept"].sum()), "total": len(rows),
        "judges": {name: run.manifests["synthetic"].provenance["inputs"].get(key, "")[:16]
                   for name, key in (("re-ID network", "judge"), ("pose estimator", "estimator"))},
        "charts": [(title, chart) for title, chart in charts if chart],
        "groups": [(title, [_strip(run, row) for row in some.itertuples()]) for title, some in groups if len(some)],
    }  # fmt: skip


def _strip(run: Run, row: Any) -> dict[str, str]:
    images = grid([[picture(run, "images", row.source), picture(run, "synthetic", row.id)]])
    return {"id": row.id, "src": data_uri(images), "verdict": row.verdict}
