"""Rounds over HTTP: order, training, results, what a reload finds, and that nothing is lost or counted twice."""

import asyncio
import errno
import os
import re
import sys
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from click.testing import CliRunner
from fastapi.testclient import TestClient
from filelock import FileLock

from augment.base.errors import AugmentError
from augment.base.seals import sealed_json
from augment.cli import main
from augment.manifest import read_manifest
from augment.study.answers import JOURNAL, Journal, read_journal, write_answers
from augment.study.protocol import presentation_order
from augment.study.results import read_results
from augment.study.server import create_app, serve


def say(said_generated: bool, place: int) -> dict:
    return {"place": place, "said_generated": said_generated, "shown_ms": 1000.0, "reaction_ms": 640.5}


def begin(client) -> tuple[str, list[str]]:
    user = client.post("users").json()["user"]
    state = client.get(f"users/{user}").json()
    assert state["place"] == 0 and state["result"] is None
    return user, state["order"]


@pytest.fixture
def client(make_study):
    folder = make_study()
    with TestClient(create_app(folder)) as client:
        client.folder = folder
        client.truth = read_manifest(folder / "stimuli.parquet").frame().set_index("id")
        yield client


def test_a_whole_round(client):
    user, order = begin(client)
    assert sorted(order) == sorted(client.truth.index)
    assert client.truth.loc[order, "training"].tolist() == [True] * 2 + [False] * 6
    for place, id in enumerate(order):
        image = client.get(f"images/{id}.png")
        assert image.headers["content-type"] == "image/png" and len(image.content) > 1000
        truth = bool(client.truth.loc[id, "generated"])
        # wrong about the first image of the test, right about all others
        reply = client.post(f"users/{user}/answers", json=say(truth != (place == 2), place)).json()
        assert reply["place"] == place + 1
        assert reply["generated"] == (truth if place < 2 else None)  # only the training tells
        assert (reply["result"] is None) == (place < 7)
    missed = bool(client.truth.loc[order[2], "generated"])
    assert reply["result"] == {"real_as_generated": int(not missed), "generated_as_real": int(missed), "of_each": 3}
    assert client.get(f"users/{user}").json()["result"] == reply["result"]
    answers = write_answers(client.folder).frame()  # while the server goes on
    assert answers["stimulus"].tolist() == order
    assert answers["generated"].tolist() == client.truth.loc[order, "generated"].tolist()
    assert (answers["said_generated"] != answers["generated"]).tolist() == [place == 2 for place in range(8)]
    assert set(answers["reaction_ms"]) == {640.5}
    figures = read_results(client.folder).figures
    assert (figures["R2G"].value, figures["G2R"].value) == pytest.approx((0, 1 / 3) if missed else (1 / 3, 0))


def test_the_first_answer_counts_and_none_is_skipped(client):
    user, order = begin(client)
    first = client.post(f"users/{user}/answers", json=say(True, 0)).json()
    assert client.post(f"users/{user}/answers", json=say(False, 0)).json() == first  # a double key
    assert client.post(f"users/{user}/answers", json=say(False, 2)).status_code == 409
    assert read_journal(client.folder / JOURNAL)[user] == [
        {"stimulus": order[0], "said_generated": True, "shown_ms": 1000.0, "reaction_ms": 640.5}
    ]


def test_equal_answers_at_the_same_moment_are_one(client):
    user, _ = begin(client)
    with ThreadPoolExecutor(8) as threads:
        replies = list(threads.map(lambda _: client.post(f"users/{user}/answers", json=say(True, 0)), range(8)))
    assert {reply.status_code for reply in replies} == {200}
    assert len(read_journal(client.folder / JOURNAL)[user]) == 1


def test_a_restarted_server_goes_on_where_each_user_was(make_study):
    folder = make_study()
    with TestClient(create_app(folder)) as client:
        user, order = begin(client)
        for place in range(3):
            client.post(f"users/{user}/answers", json=say(True, place))
    (folder / JOURNAL).open("ab").write(b'{"user": "cut o')  # a process killed as it wrote
    with TestClient(create_app(folder)) as client:
        state = client.get(f"users/{user}").json()
        assert (state["place"], state["order"]) == (3, order)
        assert client.post(f"users/{user}/answers", json=say(True, 3)).json()["place"] == 4
    assert len(read_journal(folder / JOURNAL)[user]) == 4
    assert len(read_manifest(folder / "answers.parquet").table) == 4
    assert read_results(folder).unfinished == 1


def test_orders_differ_between_users_and_stay_for_each(client):
    stimuli = client.truth.reset_index()
    orders = {tuple(presentation_order(stimuli, f"user {number}")) for number in range(50)}
    assert len(orders) > 40
    assert presentation_order(stimuli.sample(frac=1, random_state=1), "a") == presentation_order(stimuli, "a")


def test_bad_requests_are_refused(client):
    user, _ = begin(client)
    assert client.get("users/nobody").status_code == 404
    assert client.post("users/nobody/answers", json=say(True, 0)).status_code == 404
    assert client.get("images/..%2Fstimuli.png").status_code == 404
    assert client.get("stimuli.parquet").status_code == 404
    assert client.post(f"users/{user}/answers", json=say(True, -1)).status_code == 422
    assert client.post(f"users/{user}/answers", json={"place": 0}).status_code == 422


def test_with_a_token_nothing_lies_outside_it(make_study):
    with TestClient(create_app(make_study(), token="s3cret")) as client:
        assert client.get("/s3cret/").status_code == 200
        assert {client.get(path).status_code for path in ("/", "/study.js", "/wrong/", "/users/x")} == {404}
        assert client.post("/users").status_code in (404, 405)


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have only one loopback address")
def test_another_address_than_the_usual_one_gets_a_token_that_stays(make_study, served):
    folder = make_study()
    links = []
    for _ in range(2):
        with served(folder, host="127.0.0.2") as link:
            links.append(re.sub(r":\d+/", "/", link))
            assert httpx.get(link, trust_env=False).status_code == 200
            assert httpx.get(re.sub(r"[^/]+/$", "", link), trust_env=False).status_code == 404
    assert links[0] == links[1] and len(links[0].split("/")[3]) > 20
    assert (folder / "token").stat().st_mode & 0o077 == 0


def test_the_page_loads_nothing_from_outside_and_tells_no_answer(client):
    page = client.get("/")
    assert "default-src 'none'" in page.headers["content-security-policy"]
    text = page.text + client.get("study.js").text + client.get("study.css").text
    assert "http://" not in text and "https://" not in text and "url(" not in text
    user, _ = begin(client)
    assert set(client.get(f"users/{user}").json()) == {"order", "place", "result"}


def test_a_full_disk_loses_nothing_that_was_confirmed(make_study, monkeypatch):
    folder = make_study()
    with TestClient(create_app(folder)) as client:
        user, _ = begin(client)
        client.post(f"users/{user}/answers", json=say(True, 0))
        write = os.write

        def half_then_full(file, data):
            write(file, data[:5])
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(os, "write", half_then_full)
        failed = client.post(f"users/{user}/answers", json=say(True, 1))
        assert failed.status_code == 507 and "No space left" in failed.json()["detail"]
        monkeypatch.setattr(os, "write", write)
        assert client.get(f"users/{user}").json()["place"] == 1
        assert client.post(f"users/{user}/answers", json=say(False, 1)).json()["place"] == 2
    assert [answer["said_generated"] for answer in read_journal(folder / JOURNAL)[user]] == [True, False]


def test_the_journal_syncs_what_waits_together(tmp_path, monkeypatch):
    synced = []
    monkeypatch.setattr(os, "fsync", lambda file: synced.append(os.fstat(file).st_size))

    async def append_all():
        journal = Journal(tmp_path / JOURNAL)
        await asyncio.gather(*(journal.append({"user": str(number), "n": number}) for number in range(200)))
        journal.close()

    asyncio.run(append_all())
    assert [users[0]["n"] for users in read_journal(tmp_path / JOURNAL).values()] == list(range(200))
    assert len(synced) < 10 and synced[-1] == (tmp_path / JOURNAL).stat().st_size


@pytest.mark.parametrize("torn", [b'{"user": "a', b'{"n": 1}\n{"us', b""])
def test_a_line_that_was_never_finished_is_cut_off(tmp_path, torn):
    (tmp_path / JOURNAL).write_bytes(torn)
    Journal(tmp_path / JOURNAL).close()
    assert (tmp_path / JOURNAL).read_bytes() == torn[: 9 if b"\n" in torn else 0]


def test_a_damaged_line_of_the_journal_is_named(tmp_path):
    journal = tmp_path / JOURNAL
    good = sealed_json({"user": "u", "stimulus": "s", "said_generated": True})
    for bad in (good.replace("true", "false"), good[:-9], "[]"):
        journal.write_text(f"{good}\n{bad}\n")
        with pytest.raises(AugmentError, match=r"answers\.jsonl, line 2: damaged"):
            read_journal(journal)
    journal.write_text(f"{good}\n{good[:-9]}")  # a line that was never finished is none
    assert read_journal(journal) == {"u": [{"stimulus": "s", "said_generated": True}]}


def test_a_study_without_answers_has_an_empty_table(make_study):
    folder = make_study()
    assert len(write_answers(folder).table) == 0
    assert read_results(folder).users == 0


def test_answers_to_images_that_are_gone_are_told(make_study):
    folder = make_study()
    lines = [sealed_json({"user": "u", "stimulus": "gone", "said_generated": True, "shown_ms": 1, "reaction_ms": 9})]
    (folder / JOURNAL).write_text("\n".join(lines) + "\n")
    with pytest.raises(AugmentError, match="1 of 1 answers are to images that the study no longer has"):
        write_answers(folder)


def test_a_study_that_is_served_is_not_made_anew(make_study):
    folder = make_study()
    before = {path.name: path.read_bytes() for path in folder.rglob("*.png")}
    with FileLock(folder / ".lock"):
        told = CliRunner().invoke(main, ["study", str(folder.parent), "--images", "3", "--training", "1"])
    assert told.exit_code == 3 and "this study is being served already" in told.output
    assert {path.name: path.read_bytes() for path in folder.rglob("*.png")} == before


def test_a_port_in_use_and_a_study_served_twice_are_told(make_study):
    import socket

    folder = make_study()
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(AugmentError, match="--port"):
        serve(folder, port=taken.getsockname()[1])
    with FileLock(folder / ".lock"), pytest.raises(AugmentError, match="served already"):
        serve(folder, port=0)
