"""The page in headless Chromium: a whole round by keyboard and by touch, reload, layout on a phone and a desktop."""

import json
import time

import pytest
from browser import By, Keys, look, needs_chromium
from selenium.webdriver.support.ui import WebDriverWait

from augment.manifest import read_manifest
from augment.study.answers import JOURNAL, read_journal, write_answers

pytestmark = needs_chromium


@pytest.fixture
def page(chromium):
    """Chromium with nothing stored, as a desktop of 1440 x 900 in light colours."""
    chromium.get("data:,")
    chromium.execute_cdp_cmd("Storage.clearDataForOrigin", {"origin": "*", "storageTypes": "all"})
    look(chromium, 1440, 900, "light")
    chromium.get_log("browser"), chromium.get_log("performance")
    return chromium


def until(driver, condition, seconds: float = 30):
    return WebDriverWait(driver, seconds, poll_frequency=0.02).until(condition)


def picture(driver) -> str | None:
    """Id of the picture on the stage, or None."""
    address = driver.execute_script("return document.querySelector('#stage img')?.src")
    return address and address.rpartition("/")[2].removesuffix(".png")


def press(driver, key: str) -> None:
    driver.switch_to.active_element.send_keys(key)


def begin(driver) -> None:
    until(driver, lambda _: driver.find_element(By.ID, "begin").is_enabled())
    press(driver, Keys.ENTER)


def answer_next(driver, seen: list[str], key: str) -> None:
    """Wait for a picture that was not on before, and press."""
    seen.append(until(driver, lambda _: (now := picture(driver)) and now not in seen and now))
    press(driver, key)


def problems(driver) -> list[str]:
    return [entry["message"] for entry in driver.get_log("browser") if entry["level"] == "SEVERE"]


def hosts(driver) -> set[str]:
    """Of every request since the last look."""
    events = (json.loads(entry["message"])["message"] for entry in driver.get_log("performance"))
    addresses = [e["params"]["request"]["url"] for e in events if e["method"] == "Network.requestWillBeSent"]
    return {address.split("/")[2] for address in addresses if address.startswith("http")}


def test_a_whole_round_by_keyboard_alone(page, make_study, served):
    folder = make_study(images=2, training=1)
    truth = read_manifest(folder / "stimuli.parquet").frame().set_index("id")["generated"]
    with served(folder) as address:
        page.get(address)
        begin(page)
        seen: list[str] = []
        for place in range(6):
            answer_next(page, seen, Keys.ARROW_RIGHT if place % 2 else "r")
            if place == 0:
                told = until(page, lambda _: page.find_element(By.ID, "message").text)
                assert told == ("✗ Wrong: generated." if truth[seen[0]] else "✓ Right: real.")
        until(page, lambda _: page.find_element(By.ID, "done").is_displayed())
        mistakes = {False: 0, True: 0}
        for place in range(2, 6):
            mistakes[truth[seen[place]]] += bool(place % 2) != truth[seen[place]]
        assert page.find_element(By.ID, "real-as-generated").text == f"{mistakes[False]} of 2"
        assert page.find_element(By.ID, "generated-as-real").text == f"{mistakes[True]} of 2"
        assert problems(page) == []
        assert hosts(page) == {address.split("/")[2]}  # nothing from outside
    answers = write_answers(folder).frame()
    assert answers["stimulus"].tolist() == seen
    assert answers["said_generated"].tolist() == [False, True] * 3
    # a second by the browser's clock, to a frame or two; a busy machine drops some
    assert answers["shown_ms"].between(985, 1300).all() and answers["shown_ms"].median() < 1060
    assert answers["reaction_ms"].between(0, 1000).all()  # pressed while the picture was there


def test_reload_double_key_and_touch(page, make_study, served):
    folder = make_study(images=2, training=0)
    with served(folder) as address:
        page.get(address)
        begin(page)
        until(page, picture)
        press(page, Keys.ARROW_LEFT * 3 + "g")  # four keys are one answer, the first
        until(page, lambda _: len(only(folder)) == 1)
        first = until(page, picture)
        page.refresh()  # while the second picture is on: it comes again
        until(page, lambda _: page.find_element(By.ID, "begin").text == "Go on with picture 2")
        look(page, 360, 640, "dark")
        begin(page)
        assert until(page, picture) == first
        until(page, lambda _: picture(page) is None)  # hidden after its second; the answer may come later
        until(page, lambda _: page.find_element(By.ID, "message").text == "Real or generated?")
        time.sleep(0.3)
        assert len(only(folder)) == 1
        button = page.find_element(By.ID, "generated")
        box = button.rect
        touch = {"type": "mousePressed", "x": box["x"] + 9, "y": box["y"] + 9, "button": "left", "clickCount": 1}
        page.execute_cdp_cmd("Input.dispatchMouseEvent", touch)
        page.execute_cdp_cmd("Input.dispatchMouseEvent", touch | {"type": "mouseReleased"})
        until(page, lambda _: len(only(folder)) == 2)
    answers = only(folder)
    assert [answer["said_generated"] for answer in answers] == [False, True]
    assert answers[1]["stimulus"] == first and answers[1]["reaction_ms"] > 1000


def only(folder) -> list[dict]:
    """The answers of the only user."""
    (answers,) = read_journal(folder / JOURNAL).values()
    return answers


def test_answers_outlive_a_restart_of_the_server(page, make_study, served):
    folder = make_study(images=1, training=0)
    with served(folder) as address:
        page.get(address)
        begin(page)
        until(page, picture)
    press(page, "g")  # the server is gone
    until(page, lambda _: "Trying again" in page.find_element(By.ID, "message").text)
    port = int(address.rstrip("/").rpartition(":")[2])
    with served(folder, port=port):
        until(page, lambda _: len(only(folder)) == 1)
        assert only(folder)[0]["said_generated"]
        answer_next(page, [only(folder)[0]["stimulus"]], "g")
        until(page, lambda _: page.find_element(By.ID, "done").is_displayed())


def test_a_page_in_the_background_pauses(page, make_study, served):
    folder = make_study(images=1, training=0)
    hide = "Object.defineProperty(document, 'hidden', {value: arguments[0], configurable: true});"
    hide += "document.dispatchEvent(new Event('visibilitychange'))"
    with served(folder) as address:
        page.get(address)
        begin(page)
        shown = until(page, picture)
        page.execute_script(hide, True)
        until(page, lambda _: page.find_element(By.ID, "begin").is_displayed())
        press(page, "g")  # no picture, no answer
        page.execute_script(hide, False)
        assert only(folder) == []
        begin(page)
        assert until(page, picture) == shown
        press(page, "g")
        until(page, lambda _: len(only(folder)) == 1)


def test_a_browser_that_stores_nothing_plays_a_round(page, make_study, served):
    blocked = "Object.defineProperty(window, 'localStorage', {get() { throw new DOMException('', 'SecurityError') }})"
    script = page.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": blocked})
    try:
        with served(make_study(images=1, training=0)) as address:
            page.get(address)
            begin(page)
            seen: list[str] = []
            for _ in range(2):
                answer_next(page, seen, "g")
            until(page, lambda _: page.find_element(By.ID, "done").is_displayed())
            assert page.find_element(By.ID, "real-as-generated").text == "1 of 1"
    finally:
        page.execute_cdp_cmd("Page.removeScriptToEvaluateOnNewDocument", script)


@pytest.mark.parametrize(("width", "height"), [(360, 640), (1440, 900), (640, 360)])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_everything_fits_and_can_be_read(page, make_study, served, width, height, scheme):
    look(page, width, height, scheme)
    with served(make_study(images=1, training=0)) as address:
        page.get(address)
        until(page, lambda _: page.find_element(By.ID, "begin").is_enabled())
        assert page.execute_script("return document.documentElement.scrollWidth") <= width
        assert lowest_contrast(page, "#start h1, #start p, #start li, #begin") >= 4.5
        begin(page)
        until(page, picture)
        shown, real, generated = (
            page.execute_script("return document.querySelector(arguments[0]).getBoundingClientRect()", selector)
            for selector in ("#stage img", "#real", "#generated")
        )
        for box in (shown, real, generated):
            assert box["left"] >= 0 and box["right"] <= width and box["top"] >= 0 and box["bottom"] <= height
        assert shown["bottom"] <= real["top"] and real["right"] <= generated["left"] and real["top"] == generated["top"]
        assert min(real["height"], generated["height"]) >= 48 and real["width"] == generated["width"]  # for thumbs
        assert shown["height"] == pytest.approx(2 * shown["width"], rel=0.01)
        assert shown["height"] > (128 if height == 360 else 380)
        assert abs((shown["left"] + shown["right"]) / 2 - width / 2) < 1
        assert lowest_contrast(page, "#real, #generated, #phase") >= 4.5


def lowest_contrast(driver, selector: str) -> float:
    """The lowest contrast (WCAG 2) of the visible text of some elements against what lies behind it."""
    pairs = driver.execute_script(
        """return [...document.querySelectorAll(arguments[0])].filter(e => e.offsetParent && e.innerText).map(e => {
             let behind = e;
             while (getComputedStyle(behind).backgroundColor === 'rgba(0, 0, 0, 0)') behind = behind.parentElement;
             return [getComputedStyle(e).color, getComputedStyle(behind).backgroundColor];
           })""", selector)  # fmt: skip
    assert pairs
    return min(contrast(*(luminance(colour) for colour in pair)) for pair in pairs)


def luminance(colour: str) -> float:
    channels = (int(part) / 255 for part in colour.partition("(")[2].rstrip(")").split(",")[:3])
    linear = [c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(first: float, second: float) -> float:
    return (max(first, second) + 0.05) / (min(first, second) + 0.05)
