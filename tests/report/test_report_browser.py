"""The report in headless Chromium: comparing, sorting, copying, by keyboard too; three widths, and printed."""

import json
from collections.abc import Callable

import pytest
from browser import By, Keys, look, needs_chromium
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.support.ui import WebDriverWait

from augment.report.page import write_report

pytestmark = needs_chromium


@pytest.fixture
def page(chromium, fake_run):
    look(chromium, 1440, 900)
    chromium.get_log("browser")  # what other tests have left there
    chromium.get(write_report(fake_run.config.report, fake_run.config, fake_run.folder).as_uri())
    yield chromium
    chromium.implicitly_wait(0)
    assert [entry["message"] for entry in chromium.get_log("browser")] == []


def find(driver, selector):
    return driver.find_element(By.CSS_SELECTOR, selector)


def point_at(page, element, condition: Callable[[], bool]) -> None:
    """Move the pointer about on an element until the condition holds.

    A move right after scrolling may still be of the frame before, in which something else is under the pointer.
    """

    def moved(_) -> bool:
        ActionChains(page).move_to_element(element).move_by_offset(2, 0).perform()
        return condition()

    WebDriverWait(page, 5).until(moved)


def test_target_and_generated_image_are_compared_by_slider_and_pointer(page):
    def shown() -> str:
        return page.execute_script("return getComputedStyle(document.querySelector('.compare img + img')).clipPath")

    slider = find(page, ".compare input")
    page.execute_script("arguments[0].focus()", slider)
    assert shown() == "inset(0px 50% 0px 0px)"
    page.switch_to.active_element.send_keys(Keys.END)
    assert shown() in ("inset(0px 0% 0px 0px)", "inset(0px)")
    page.switch_to.active_element.send_keys(Keys.HOME)
    assert shown() == "inset(0px 100% 0px 0px)"
    image = find(page, ".compare img")
    page.execute_script("arguments[0].scrollIntoView({block: 'center'})", image)
    point_at(page, image, lambda: 40 <= int(slider.get_attribute("value")) <= 60)
    boxes = page.execute_script("return [...document.querySelectorAll('.compare')[0].querySelectorAll('img')]"
                                ".map(image => image.getBoundingClientRect().left)")  # fmt: skip
    assert boxes[0] == boxes[1]


def test_a_generated_image_shows_its_source_while_the_pointer_is_over_it_or_a_button_is_pressed(page):
    source, made = find(page, ".redrawn .source").get_attribute("src"), find(page, ".redrawn .made")
    own = made.get_attribute("src")
    page.execute_script("arguments[0].scrollIntoView({block: 'center'})", made)
    point_at(page, made, lambda: made.get_attribute("src") == source != own)
    point_at(page, find(page, "h1"), lambda: made.get_attribute("src") == own)
    find(page, ".redrawn button").send_keys(Keys.ENTER)
    assert made.get_attribute("src") == source


def test_tables_sort_up_down_and_back(page):
    table = page.find_elements(By.CSS_SELECTOR, "#quality table")[-1]
    head = table.find_elements(By.TAG_NAME, "th")[1]

    def values() -> list[str]:
        return [cell.text for cell in table.find_elements(By.CSS_SELECTOR, "tbody tr td:nth-child(2)")]

    before = values()
    button = head.find_element(By.TAG_NAME, "button")
    button.send_keys(Keys.ENTER)
    numbers = [float(text.strip("()").split(" ")[0]) for text in values() if text]
    assert head.get_attribute("aria-sort") == "ascending" and numbers == sorted(numbers) and len(numbers) > 10
    assert values()[-1] == "" or "" not in before  # what has no figure stands below
    button.send_keys(Keys.ENTER)
    numbers = [float(text.strip("()").split(" ")[0]) for text in values() if text]
    assert numbers == sorted(numbers, reverse=True)
    button.send_keys(Keys.ENTER)
    assert values() == before and head.get_attribute("aria-sort") is None


def test_a_command_is_copied_or_shown(page):
    button = find(page, "#quality h2 .copy")
    button.send_keys(Keys.ENTER)
    page.implicitly_wait(2)
    assert button.get_attribute("data-command") in find(page, ".said:not(:empty)").text


@pytest.mark.parametrize("width", [360, 800, 1440])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_sticks_out_and_text_is_legible(page, width, scheme):
    look(page, width, 900, scheme)
    assert page.execute_script("return document.documentElement.scrollWidth") <= width
    ratios = page.execute_script(CONTRAST)
    assert len(ratios) > 10 and min(ratios.values()) >= 4.5, ratios
    small = page.execute_script("return [...document.querySelectorAll('button, input, nav a')].filter(one => "
                                "one.offsetParent && one.getBoundingClientRect().height < 14).length")  # fmt: skip
    assert small == 0


def test_on_paper_pictures_lie_side_by_side_and_the_command_can_be_read(page):
    look(page, 800, 1100, "dark", "print")
    boxes = page.execute_script("return [...document.querySelector('.compare').querySelectorAll('img')]"
                                ".map(image => image.getBoundingClientRect().left)")  # fmt: skip
    assert boxes[1] > boxes[0]
    assert page.execute_script("return getComputedStyle(document.body).color") == "rgb(0, 0, 0)"
    assert page.execute_script("return getComputedStyle(document.querySelector('nav')).display") == "none"
    said = page.execute_script("return getComputedStyle(document.querySelector('#quality .copy'), '::after').content")
    assert json.loads(said) == find(page, "#quality .copy").get_attribute("data-command")


# Class of each element with text of its own -> its colour's contrast with what lies behind it (WCAG 2), the least.
CONTRAST = """
const linear = c => (c /= 255) <= .03928 ? c / 12.92 : ((c + .055) / 1.055) ** 2.4;
const parts = colour => colour.match(/[\\d.]+/g).map(Number);
const luminance = ([r, g, b]) => .2126 * linear(r) + .7152 * linear(g) + .0722 * linear(b);
const behind = node => { for (; node; node = node.parentElement) {
  const colour = parts(getComputedStyle(node).backgroundColor); if (colour.length < 4 || colour[3] > 0) return colour;
} return [255, 255, 255]; };
const found = {};
for (const node of document.querySelectorAll("main *")) {
  if (![...node.childNodes].some(child => child.nodeType === 3 && child.textContent.trim())) continue;
  if (!node.getClientRects().length) continue;
  const style = getComputedStyle(node), text = node.closest("svg") ? style.fill : style.color;
  const [a, b] = [luminance(parts(text)), luminance(behind(node))].sort((x, y) => y - x);
  const name = node.tagName + "." + (node.getAttribute("class") || "");
  found[name] = Math.min(found[name] ?? 21, (a + .05) / (b + .05));
}
return found;
"""
