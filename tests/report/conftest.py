"""A real browser without a window, one for all tests of pages."""

import io
import shutil
from pathlib import Path

import matplotlib.image
import numpy as np
import pytest
from playwright.sync_api import sync_playwright

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
# Root needs the first; a machine without a GPU draws WebGL by software.
FLAGS = ("--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader")


@pytest.fixture(scope="module")
def browser():
    """Start the browser of the system, or playwright's own."""
    with sync_playwright() as playwright:
        chromium = playwright.chromium
        found = next(filter(None, map(shutil.which, BROWSERS)), chromium.executable_path)
        if not Path(found).exists():
            pytest.skip(
                f"no {', '.join(BROWSERS)} on the PATH: apt-get install chromium, or "
                "playwright install --with-deps chromium"
            )
        browser = chromium.launch(executable_path=found, args=list(FLAGS))
        yield browser
        browser.close()


class OpenPage:
    """A page in the browser, what it asked for, and what it complained of."""

    def __init__(self, browser, path, width=700, height=600):
        self.requests, self.complaints = [], []
        self.page = browser.new_page(viewport={"width": width, "height": height})
        self.page.set_default_timeout(60_000)
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("dialog", lambda dialog: self.complaints.append(dialog.message))
        self.page.on("console", self._listen)
        self.page.goto(path.as_uri())

    def _listen(self, message):
        if message.type in ("error", "warning") and "GPU stall" not in message.text:
            self.complaints.append(message.text)

    def picture(self, selector):
        """Return the pixels of an element, (height, width, 3) between 0 and 1."""
        png = self.page.locator(selector).screenshot(animations="disabled")
        return np.asarray(matplotlib.image.imread(io.BytesIO(png)))[..., :3]

    def column(self, table, number):
        """Return the texts of a table's column, from 1."""
        cells = self.page.locator(f"#{table} tbody tr > :nth-child({number})")
        return cells.all_inner_texts()


@pytest.fixture(scope="module")
def open_page(browser):
    """Return a function that opens a file in the browser."""

    def open_file(path, **size):
        return OpenPage(browser, path, **size)

    return open_file
