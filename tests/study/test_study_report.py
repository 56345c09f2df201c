"""The report's section."""

import re

import pytest
from fastapi.testclient import TestClient

from augment.config import Config
from augment.manifest import read_manifest
from augment.report.page import write_report
from augment.report.study import study
from augment.run import Run
from augment.study.server import create_app


@pytest.fixture
def folder(make_study):
    """Two finished users, who rate the first of the generated images by id as real, and one who has only begun."""
    folder = make_study(images=4, training=0)
    generated = read_manifest(folder / "stimuli.parquet").frame().query("generated")["id"].tolist()
    with TestClient(create_app(folder)) as client:
        for number in range(3):
            user = client.post("users").json()["user"]
            for place, id in enumerate(client.get(f"users/{user}").json()["order"]):
                if number == 2 and place == 1:
                    break
                wrong = id == generated[0] or (number == 0 and id == generated[1])
                said = {"place": place, "said_generated": (id in generated) != wrong, "shown_ms": 1, "reaction_ms": 1}
                assert client.post(f"users/{user}/answers", json=said).status_code == 200
    return folder


def test_the_section_has_figures_published_ones_and_two_strips(folder, monkeypatch):
    monkeypatch.setattr("augment.report.study.published_layout", lambda run, config: "market1501")
    (folder / "answers.parquet").unlink()  # made anew of the journal
    page = write_report(Config().report, Config(), folder.parent).read_text()
    section = re.search(r'<section id="study">.*?</section>', page, re.S).group()
    cells = re.findall(r"<td[^>]*>([^<]*)</td>", section)
    # G2R: 2 of 4 and 1 of 4
    assert cells[:4] == ["this run", "2", "0.0 [0.0, 0.0]", "37.5 [25.0, 50.0]"]
    assert cells[5:] == ["published: Ma et al.", "", "11.2", "5.5", "",
                         "published: the paper&#39;s Full", "", "22.67", "50.24", ""]  # fmt: skip
    assert "1 more did not finish" in section
    assert re.findall(r"<figcaption>(.*?)</figcaption>", section) == ["100%", "50%", "0%", "0%"]
    assert 'href="#study"' in page


def test_a_lost_image_is_named_and_the_figures_stay(folder):
    for image in (folder / "images").glob("*.png"):
        image.write_bytes(b"")
    page = write_report(Config().report, Config(), folder.parent).read_text()
    assert "37.5 [25.0, 50.0]" in page and f"{image.name}: cannot be read as an image" in page


def test_no_section_before_somebody_has_finished(make_study, tmp_path):
    assert study(Run(tmp_path / "empty"), Config()) is None
    folder = make_study()
    with TestClient(create_app(folder)) as client:
        client.post("users")
    assert study(Run(folder.parent), Config()) is None
