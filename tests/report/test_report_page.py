import re
import shutil
from html.parser import HTMLParser
from itertools import pairwise

import pandas as pd
import pytest

from augment.base.errors import AugmentError
from augment.base.files import sha256_bytes
from augment.config import Config, ReidConfig, ReportConfig, load_config
from augment.manifest import read_manifest, write_manifest
from augment.report.inputs import lineage
from augment.report.page import write_joint_report, write_report
from augment.run import Run
from augment.stage import hashes_of

VOID = {"meta", "link", "img", "br", "line", "circle", "rect", "polyline"}


class Page(HTMLParser):
    """The page's text and sections; raises where tags are not closed in order."""

    def __init__(self, text):
        super().__init__()
        self.text, self.sections, self.links, self.pictures, self.scripts, self.open = "", [], [], 0, 0, []
        self.ids, self.levels, self.alts = [], [], []
        self.feed(text)
        self.text = " ".join(self.text.split())
        assert not self.open

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        assert not any(name.startswith("on") for name in attrs)
        self.scripts += tag == "script"
        self.ids += [attrs["id"]] if "id" in attrs else []
        self.levels += [int(tag[1])] if tag in ("h1", "h2", "h3", "h4") else []
        self.alts += [attrs["alt"]] if tag == "img" else []
        if tag == "section":
            self.sections.append(attrs["id"])
        self.links += [attrs[name] for name in ("href", "src") if name in attrs]
        self.pictures += tag == "img"
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] not in ("style", "script"):
            self.text += " " + data


def write(run, config=None):
    config = config or run.config
    path = write_report(config.report, config, run.folder)
    return path, Page(path.read_text(encoding="utf-8"))


def test_every_stage_has_its_section_in_order(fake_run):
    path, page = write(fake_run)
    assert path == fake_run.folder / "report.html"
    assert page.sections == [
        "arms", "synthetic", "quality", "training", "retrieval", "data", "failures", "settings", "lineage",
    ]  # fmt: skip


def test_page_needs_nothing_but_itself_and_is_small(fake_run):
    path, page = write(fake_run)
    outside = [link for link in page.links if not link.startswith(("data:image/", "data:,", "#"))]
    assert outside == ["gan/gallery.html"]
    assert "@import" not in path.read_text() and "url(" not in path.read_text()
    assert path.stat().st_size < 5e6
    # 3 sources, of each 3 images with their poses; 3 x 3 strips in 3; 3 samples over time; 2 queries with 2 arms of 8
    assert page.pictures == 3 * (1 + 2 * 3) + 9 * 3 + 3 + 2 * (1 + 2 * 8)
    assert "default-src 'none'" in path.read_text() and page.scripts == 1


def test_headings_go_down_by_one_ids_are_single_and_every_picture_is_described(fake_run):
    _, page = write(fake_run)
    assert page.levels[0] == 1 and page.levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(page.levels))
    assert len(set(page.ids)) == len(page.ids) and all(page.alts)


def test_arms_are_told_in_words_with_difference_and_interval(fake_run):
    _, page = write(fake_run)
    # rank-1: 61 and 65.5; differences 5 and 4: mean 4.5, deviation sqrt(.5), times t(.975, 1) / sqrt(2) = 8.98: 6.4
    assert "rank-1 61.0 → 65.5 % +4.5 [-1.9, 10.9] points over 2 seeds" in page.text
    assert "mAP 40.5 → 40.5 % +0.0 [-12.7, 12.7] points over 2 seeds no conclusion: 2 seeds" in page.text
    assert "6 real and 18 other images, 1,000 iterations" in page.text
    assert page.text.index("61.0 → 65.5") < page.text.index("images generated from")


def test_the_filter_shows_its_scores_and_what_it_left_out(fake_run):
    table = fake_run.tables["synthetic"]
    frame = table.frame()
    values = [number / 10 for number in range(len(frame))]
    scores = pd.DataFrame({"id": frame["id"], "similarity": values, "margin": values, "sharpness": 1.0})
    scores = scores.assign(pose=None, person=None)
    write_manifest(table.path.parent / "scores.parquet", "scores", scores, {"digest": "scores"})
    frame["kept"] = [value >= 0.5 for value in values]
    frame["verdict"] = ["" if value >= 0.5 else f"unlike its source: similarity {value}" for value in values]
    origin = table.provenance | {"inputs": table.provenance["inputs"] | {"judge": "feedfacecafebeef01"}}
    write_manifest(table.path, "synthetic", frame, origin, hashes_of(table.path.parent, ["scores.parquet"]))
    config = load_config(None, ["synthesis.filter.similarity=0.5", "report.examples=2"])
    text = write(fake_run, config)[1].text
    assert "13 of 18 images are kept; re-ID network feedfacecafebeef" in text
    assert "5 not used: unlike its source" in text
    best, worst = text.index("Best of those left out"), text.index("Worst copy command unlike")
    assert "similarity 0.4" in text[best:worst] and "similarity 0.3" in text[best:worst]
    assert "similarity 0.0" in text[worst:] and "similarity 0.1" in text[worst:]
    assert "Cosine to the source" in text and "Estimator" not in text  # that was not asked
    (table.path.parent / "scores.parquet").write_bytes(b"scribble")
    assert "scores.parquet: not readable" in write(fake_run, config)[1].text


def test_quality_stands_beside_the_source_and_published_figures(fake_run):
    _, page = write(fake_run)
    assert "SSIM ↑ ssim_released 0.231 [0.220, 0.240] 0.153 [0.140, 0.160] 1.000" in page.text
    assert "PATN (0.311) (0.811) (3.323) (3.773) (0.740)" in page.text
    assert "ours: dsc 0.231 [0.220, 0.240] 0.790" in page.text
    assert "Published figures are of 12,000 test pairs, this run's of 24." in page.text
    assert "Paired differences to dsc" in page.text and "SSIM ↑ -0.078 [-0.080, -0.070]" in page.text
    assert "weights: 1 metrics FID: missing quality.inception_weights: a <file>" in page.text
    assert "On 75% of 24 test pairs" in page.text  # three of four pairs
    assert "no better than copying the source" not in page.text


def test_published_figures_only_beside_the_same_data(fake_run):
    fake_run.config = Config.model_validate({"data": {"layout": "rendered"}})
    fake_run.table("images", "images", fake_run.tables["images"].frame().to_dict("records"))
    _, page = write(fake_run)
    assert "Ma et al." not in page.text and "IDE + XQDA" not in page.text


def test_hostile_names_stay_text(fake_run):
    path, page = write(fake_run)
    assert "train/<script>alert(1)<_script>&\"'" in page.text
    assert "the file is <b>empty</b>" in page.text
    assert "fake <run>" in page.text
    assert path.read_text().count("<script") == page.scripts == 1


def test_settings_that_differ_are_listed(fake_run):
    _, page = write(fake_run)
    assert "gan.system dsc" in page.text and "gan.iterations 400" in page.text
    assert "gan.batch_size" not in page.text


def test_detection_report(fake_run):
    _, page = write(fake_run)
    assert re.search(r"accepted 8 5 torso incomplete 0 1", page.text)  # columns gallery, train
    assert "92.9% of the images accepted" in page.text  # 13 of 14
    assert re.search(r"left ear 0%", page.text) and re.search(r"nose 100%", page.text)


@pytest.mark.parametrize("stage", ["images", "poses", "pairs", "gan", "synthetic", "quality", "reid"])
def test_absent_and_damaged_stages_are_left_out(fake_run, stage):
    table = next((fake_run.folder / stage).glob("*.parquet"))
    table.write_bytes(b"damaged")
    _, page = write(fake_run)
    assert f"{table}: not readable as parquet" in page.text
    table.unlink()
    _, page = write(fake_run)
    gone = {"images": "nothing", "poses": "nothing", "pairs": "nothing", "gan": "nothing", "reid": "arms"}
    assert gone.get(stage, stage) not in page.sections


def test_several_runs_on_one_page(fake_run, tmp_path):
    other = shutil.copytree(fake_run.folder, tmp_path / "other")
    configs = [
        fake_run.config.model_copy(update={"name": name, "output": folder, "reid": ReidConfig(height=height)})
        for name, folder, height in (("first", fake_run.folder, 256), ("second", other, 128))
    ]
    path = write_joint_report(configs, tmp_path / "pages" / "both.html")
    page = Page(path.read_text(encoding="utf-8"))
    assert page.sections[:4] == ["overview-reid", "overview-quality", "overview-settings", "run1-arms"]
    assert [id for id in page.sections if id.endswith("-lineage")] == ["run1-lineage", "run2-lineage"]
    assert len(set(page.ids)) == len(page.ids) and page.levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(page.levels))
    fragments = {link[1:] for link in page.links if link.startswith("#")}
    assert fragments <= set(page.ids) and {"run1", "run2"} <= fragments
    assert "second, augmented 65.5 ± 0.7 +4.5 [-1.9, 10.9]" in page.text
    assert "SSIM ↑ ssim_released 0.231 [0.220, 0.240] 0.231 [0.220, 0.240] 0.153 [0.140, 0.160] 1.000" in page.text
    assert "All on the same test pairs" in page.text
    assert "reid.height default 128" in page.text and "gan.iterations 400 400" not in page.text
    with pytest.raises(AugmentError, match="nothing: no finished stage of a run"):
        write_joint_report([configs[0], Config(output=tmp_path / "nothing")], path)


def test_empty_folder_gives_a_page(tmp_path):
    (tmp_path / "run").mkdir()
    page = Page(write_report(ReportConfig(), Config(), tmp_path / "run").read_text())
    assert page.sections == ["settings"]
    assert "All settings are the defaults." in page.text


def test_same_tables_give_the_same_bytes(fake_run):
    first = write(fake_run)[0].read_bytes()
    assert write(fake_run)[0].read_bytes() == first


def test_lost_picture_is_grey_and_a_damaged_strip_named(fake_run):
    next((fake_run.folder / "synthetic" / "images").iterdir()).unlink()
    (fake_run.folder / "quality" / "examples" / "best-01.png").write_bytes(b"no picture")
    _, page = write(fake_run)
    assert "best-01.png: cannot be read as an image" in page.text
    assert "synthetic" in page.sections


def test_one_seed_has_no_spread(fake_run):
    rows = fake_run.tables["reid"].frame()
    fake_run.table("reid", "metrics", rows[rows["seed"] == 0].to_dict("records"), ("images", "synthetic"))
    _, page = write(fake_run)
    assert "60.0 → 65.0 % +5.0 points" in page.text


def test_arms_of_other_lengths_are_compared_with_the_same_length_and_drawn(fake_run):
    fake_run.config = load_config(None, ["reid.iterations=1000", "reid.lengths=[300]"])
    rows = fake_run.tables["reid"].frame()
    shorter = rows.assign(arm=rows["arm"] + "_300", run=rows["run"].str.replace("-", "_300-"))
    shorter.loc[(shorter["metric"] == "mAP") & (shorter["arm"] == "real_300"), "value"] -= 0.1
    shorter.loc[shorter["metric"] == "iterations", "value"] = 300
    fake_run.table("reid", "metrics", pd.concat([rows, shorter]).to_dict("records"), ("images", "synthetic"))
    _, page = write(fake_run)
    # mAP at 300: 30 and 31 of real, 41 and 40 of augmented: +11 and +9, so 10 and 8.98 on either side (12.7 - 0 at 1)
    assert "augmented 300 less real 300 +10.0 [-2.7, 22.7]" in page.text
    assert "real 300 less" not in page.text
    assert "mAP by length of the training, percent" in page.text and "Difference in mAP by length, points" in page.text


def test_one_arm_alone_has_no_difference(fake_run):
    rows = fake_run.tables["reid"].frame()
    fake_run.table("reid", "metrics", rows[rows["arm"] == "real"].to_dict("records"), ("images", "synthetic"))
    _, page = write(fake_run)
    assert "rank-1 61.0 ± 1.4" in page.text and "difference" not in page.text.partition("Mean ±")[0]


def test_lineage_marks_what_has_changed_since(fake_run):
    assert not any(source["stale"] for row in lineage(Run(fake_run.folder))["rows"] for source in row["inputs"])
    rows = fake_run.tables["poses"].frame().to_dict("records")
    fake_run.table("poses", "poses", rows[:-1], ("images",))
    made = {row["stage"]: row for row in lineage(Run(fake_run.folder))["rows"]}
    stale = {stage: [source["name"] for source in row["inputs"] if source["stale"]] for stage, row in made.items()}
    assert stale["pairs"] == stale["gan"] == stale["synthetic"] == ["poses"] and stale["reid"] == []
    assert made["poses"]["content"] == fake_run.tables["poses"].digest[:12]


def test_stage_tables_are_not_touched(fake_run):
    def contents():
        return {path: sha256_bytes(path.read_bytes()) for path in fake_run.folder.rglob("*.parquet")}

    before = contents()
    write(fake_run)
    assert contents() == before


def test_unreadable_csv_is_named(fake_run):
    (fake_run.folder / "quality" / "per_pair.csv").write_text("")
    _, page = write(fake_run)
    assert "per_pair.csv: not readable as a table" in page.text
    assert len(pd.read_csv(fake_run.folder / "quality" / "examples.csv")) == 12


def test_a_table_that_is_gone_is_named_not_dropped_in_silence(fake_run):
    manifest = read_manifest(fake_run.folder / "quality" / "metrics.parquet")
    write_manifest(manifest.path, "metrics", manifest.frame(), manifest.provenance, {"per_pair.csv": "0" * 64})
    (fake_run.folder / "quality" / "per_pair.csv").unlink()
    assert "per_pair.csv: is missing. Run the same command again to recreate it." in write(fake_run)[1].text


def test_the_gallery_is_found_from_wherever_the_page_lies(fake_run, tmp_path):
    for page in (fake_run.folder / "report.html", tmp_path / "elsewhere" / "page.html"):
        write_report(ReportConfig(), Config(output=fake_run.folder), fake_run.folder, page)
        (link,) = [link for link in Page(page.read_text()).links if link.endswith("gallery.html")]
        assert (page.parent / link).resolve() == (fake_run.folder / "gan" / "gallery.html").resolve()
