"""Several runs in one table: ``augment compare``."""

import pytest

from augment.base.errors import AugmentError, UsageError
from augment.config import dump_yaml, load_config
from augment.manifest import write_manifest
from augment.pipeline.arms import pooled_cells


def make_run(folder, subset: int, accuracies: dict[str, list[float]], queries: int = 10, settings=()):
    config = load_config(None, [f"data.subset.seed={subset}", f"output={folder}", f"name=run{subset}", *settings])
    rows = [{"run": f"{arm}-s{seed}", "arm": arm, "seed": seed, "metric": metric, "value": value}
            for arm, values in accuracies.items() for seed, accuracy in enumerate(values)
            for metric, value in (("mAP", accuracy), ("rank1", accuracy), ("rank5", 1), ("queries", queries))]
    (folder / "reid").mkdir(parents=True)
    write_manifest(folder / "reid" / "metrics.parquet", "metrics", rows, {"digest": "x"})
    (folder / "config.yaml").write_text(dump_yaml(config), encoding="utf-8")
    return folder


def test_runs_are_pooled_and_what_varied_is_told(tmp_path):
    runs = [make_run(tmp_path / str(subset), subset, {"real": [0.2, 0.4], "augmented": [0.4 + 0.01 * subset] * 2})
            for subset in (0, 1, 2)]  # fmt: skip
    (header, real, augmented), words = pooled_cells(runs)
    assert header[4:6] == ["rank-1 - real [95 %]", "mAP - real [95 %]"]
    assert real[3] == "30.0 ± 0.0" and augmented[3] == "41.0 ± 1.0"
    assert augmented[5] == "+11.0 [8.5, 13.5]" and augmented[6] == "gain"  # 4.3027 / sqrt(3) = 2.48
    assert words == ["3 runs, each averaged over 2 seeds; intervals are over runs",
                     "data.subset.seed varied: default, 1, 2"]  # fmt: skip


def test_more_runs_are_asked_for_not_seeds(tmp_path):
    runs = [make_run(tmp_path / str(n), n, {"real": [0.2], "augmented": [0.2 + change]})
            for n, change in enumerate((0.01, -0.01, 0.03))]  # fmt: skip
    assert pooled_cells(runs)[0][2][6] == "not shown, needs about 18 runs"
    assert pooled_cells(runs[:2])[0][2][6] == "no conclusion: 2 runs, at least 3 are needed"


def test_only_what_changes_a_common_arm_is_told_as_varied(tmp_path):
    """Not an arm that one run has alone, nor seeds and pairs of quality; but another batch of an arm of both is."""
    more = make_run(tmp_path / "a", 0, {"real": [0.2], "augmented": [0.3]}, settings=(
        "reid.arms={real: {}, augmented: {}, more_real: {}}", "quality.pairs=100", "reid.seeds=[0]"))  # fmt: skip
    plain = make_run(tmp_path / "b", 0, {"real": [0.2], "augmented": [0.3]})
    assert pooled_cells([more, plain])[1] == ["2 runs, each averaged over 1 seed; intervals are over runs",
                                              "no setting varied"]  # fmt: skip
    other = make_run(tmp_path / "c", 0, {"real": [0.2], "augmented": [0.3]}, settings=(
        "reid.arms={real: {}, augmented: {synthetic: 8}}",))  # fmt: skip
    assert pooled_cells([plain, other])[1][1:] == ["reid.arms.augmented.synthetic varied: default, 8"]


def test_what_cannot_be_pooled_is_refused(tmp_path):
    first = make_run(tmp_path / "a", 0, {"real": [0.2]})
    with pytest.raises(UsageError, match="at least two runs"):
        pooled_cells([first])
    with pytest.raises(UsageError, match="given twice"):
        pooled_cells([first, tmp_path / "." / "a"])
    with pytest.raises(AugmentError, match=r"tested on 10 to 11 queries"):
        pooled_cells([first, make_run(tmp_path / "b", 1, {"real": [0.2]}, queries=11)])
