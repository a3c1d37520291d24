"""The page of `ncsn app` in a browser: chains seen and stopped, painting, errors, commands."""

import shlex
import shutil
import time
import types
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from labelled_network import NAMES, LabelledNetwork
from PIL import Image

from ncsn_tf.commands import app, app_runs
from ncsn_tf.commands import sample as sample_command
from ncsn_tf.commands.console import run_command
from ncsn_tf.files import read_arrays
from ncsn_tf.settings.config import Config
from ncsn_tf.training import averages

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
SECONDS = 60

pytest.importorskip("gradio", reason="the extra `app` is not installed: make test-app")
playwright = pytest.importorskip("playwright.sync_api", reason="there is no driver of browsers")
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    """Of a page of a small network that knows classes."""
    config = Config(
        dataset="digits",
        image_size=8,
        channels=1,
        num_levels=3,
        step_lr=1e-5,
        num_steps_each=20,
        sampling_tile=2,
        class_conditional=True,
        class_names=NAMES,
    )
    run = types.SimpleNamespace(
        config=config, network=LabelledNetwork(), run_dir="run", origin="step 2", step=2
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("page"))
        Path("run").mkdir()
        for module in (app_runs, averages):
            patch.setattr(module, "open_weights", lambda *_, **__: run)
        strategy = tf.distribute.get_strategy()
        patch.setattr(sample_command, "start_for_sampling", lambda *_: strategy)
        app.start_gradio()
        from ncsn_tf.commands.app_page import Page

        source = app_runs.RunSource(["--workdir=run"], "run", "newest", strategy)
        page = Page(source, "painted")
        yield page.open("127.0.0.1", 0)
        page.close()


@pytest.fixture(scope="module")
def browser():
    program = next(filter(None, map(shutil.which, BROWSERS)), None)
    if program is None:
        pytest.skip("there is no browser")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield browser
        browser.close()


class Visitor:
    """Somebody who looks at the page."""

    def __init__(self, browser, address):
        self.page = browser.new_page(viewport={"width": 1280, "height": 1100})
        self.hosts = set()
        self.page.on("request", lambda request: self.hosts.add(request.url.partition("?")[0]))
        self.page.goto(address)
        self.page.wait_for_selector("#go-draw")

    @property
    def said(self):
        return self.page.inner_text("#said .prose")

    def fill(self, field, value):
        self.page.fill(f"#{field} input[type=number]", str(value))
        self.page.keyboard.press("Tab")

    def wait(self, *starts):
        end = time.monotonic() + SECONDS
        while not self.said.startswith(starts):
            assert time.monotonic() < end, f"{self.said} is not {starts}"
            self.page.wait_for_timeout(50)
        return self.said

    def go(self, button, *starts):
        """Click, and wait for what is said of it."""
        before = self.said
        self.page.click(f"#{button}")
        end = time.monotonic() + SECONDS
        while self.said == before and time.monotonic() < end:
            self.page.wait_for_timeout(20)
        return self.wait(*starts)

    def tab(self, name):
        self.page.get_by_role("tab", name=name).click()

    @property
    def command(self):
        return self.page.input_value("#command textarea")


@pytest.fixture
def visitor(browser, address):
    visitor = Visitor(browser, address)
    yield visitor
    visitor.page.close()


def images_of(command):
    """What the command draws."""
    words = shlex.split(command)
    assert words[:2] == ["ncsn", "sample"]
    with pytest.raises(SystemExit) as end:
        run_command(sample_command.main, [*words, "--format=npz", "--out=again.npz"][1:])
    assert not end.value.code
    return read_arrays("again.npz")["images"]


def test_images_of_a_class_are_drawn_and_nothing_comes_from_elsewhere(visitor, address):
    visitor.fill("seed-draw", 7)
    visitor.fill("count-draw", 4)
    visitor.page.click("#class-draw input")
    visitor.page.get_by_role("option", name="dog").click()
    assert visitor.go("go-draw", "Done", "error") == "Done: seeds 7 to 10, row by row."
    assert visitor.command == "ncsn sample --workdir=run --num_samples=4 --seed=7 --label=dog"
    assert images_of(visitor.command).shape == (4, 8, 8, 1)
    visitor.page.get_by_text("The commands of single images").click()
    each = visitor.page.input_value("#each textarea").splitlines()
    assert each[3] == "ncsn sample --workdir=run --num_samples=1 --seed=10 --label=dog"
    picture = visitor.page.locator("#picture img").first
    assert picture.evaluate("image => image.naturalWidth") >= 448
    assert visitor.hosts and all(
        url.startswith((address, "data:", "blob:")) for url in visitor.hosts
    )


def test_the_browser_refuses_what_would_come_from_elsewhere(visitor):
    fetched = visitor.page.evaluate("fetch('https://example.org').then(() => 1, () => 0)")
    assert fetched == 0
    response = visitor.page.request.get(visitor.page.url)
    assert "default-src 'self'" in response.headers["content-security-policy"]


def test_a_chain_is_seen_and_stopped_and_one_that_waits_too(visitor, browser, address):
    visitor.fill("steps-draw", 20000)
    visitor.go("go-draw", "Draws: 1", "Draws: 2", "Draws: 3")
    visitor.page.wait_for_selector("#picture img")
    other = Visitor(browser, address)
    other.go("go-draw", "Waits")
    assert other.go("stop", "Stopped") == "Stopped before it began."
    assert visitor.said.startswith("Draws")  # another's: it goes on
    assert visitor.go("stop", "Stopped").startswith("Stopped at ")
    assert other.go("stop", "Nothing") == "Nothing is being drawn."
    assert other.go("go-draw", "Done").startswith("Done: seeds 0 to 15")
    other.page.close()


def test_a_closed_page_draws_no_more(visitor, browser, address):
    other = Visitor(browser, address)
    other.fill("steps-draw", 100000)
    other.go("go-draw", "Draws")
    other.page.close()
    assert visitor.go("go-draw", "Done").startswith("Done")


def test_errors_are_shown(visitor):
    visitor.fill("steps-draw", -3)
    assert visitor.go("go-draw", "error") == "error: --num_steps_each=-3 must be at least 1"
    visitor.tab("Fill")
    assert visitor.go("go-complete", "error").startswith("error: there is no picture: upload one")


def test_a_painted_mask_is_filled(visitor):
    visitor.tab("Fill")
    visitor.go("take", "Done")
    visitor.page.wait_for_timeout(1500)
    visitor.fill("count-complete", 2)
    visitor.page.locator("#canvas").scroll_into_view_if_needed()
    box = visitor.page.locator("#canvas canvas").first.bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    visitor.page.mouse.move(x - 60, y)
    visitor.page.mouse.down()
    visitor.page.mouse.move(x + 60, y, steps=20)
    visitor.page.mouse.up()
    visitor.page.wait_for_timeout(1000)
    assert visitor.go("go-complete", "Done", "error") == "Done: seeds 0 to 1, row by row."
    paths = dict(word[2:].split("=") for word in shlex.split(visitor.command)[2:])
    known, mask = (np.asarray(Image.open(paths[name])) for name in ("inpaint", "mask"))
    assert 0 < (mask > 0).sum() < 40 and mask[3:5, 3:5].any() and not mask[0].any()
    drawn = images_of(visitor.command)[..., 0]
    np.testing.assert_array_equal(drawn[:, mask == 0], known[mask == 0][None].repeat(2, 0))
    taken = images_of("ncsn sample --workdir=run --num_samples=1 --seed=0")[0, :, :, 0]
    np.testing.assert_array_equal(known, taken)


def test_two_seeds_are_interpolated(visitor):
    visitor.tab("Interpolate")
    assert visitor.go("go-between", "Done", "error") == "Done: from seed 0 to seed 1."
    assert "--interpolate=0,1" in visitor.command and len(images_of(visitor.command)) == 8
