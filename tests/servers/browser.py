"""Chromium, as Debian packages it, driven by selenium."""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from selenium.webdriver import Chrome, ChromeOptions, ChromeService

from tests.servers.common import cannot

_PATIENCE = 60
"""Seconds that a page may take, on a machine that is busy with other things."""


@contextmanager
def running_chromium(directory: Path) -> Iterator[Chrome]:
    """Run a headless browser with a profile below `directory`. Skips if none is installed."""
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if chromium is None or driver is None:
        cannot("chromium or chromedriver is not installed (Debian: chromium, chromium-driver)")
    logging.getLogger("selenium").setLevel(logging.INFO)  # below, it writes out every picture
    options = ChromeOptions()
    options.binary_location = chromium
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    for argument in (
        "headless=new",
        "window-size=1280,900",
        f"user-data-dir={directory / 'chromium'}",
        "disable-background-networking",  # it would ask Google for news of itself
        "disable-component-update",
        "disable-default-apps",
        "disable-dev-shm-usage",  # which is small in containers
        "disable-gpu",
        "disable-sync",
        "no-first-run",
        "host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE localhost, EXCLUDE 127.0.0.1",
        *(["no-sandbox"] if os.geteuid() == 0 else []),  # it refuses to start otherwise
    ):
        options.add_argument(f"--{argument}")
    browser = Chrome(options, ChromeService(executable_path=driver))
    try:
        browser.set_page_load_timeout(_PATIENCE)
        yield browser
    finally:
        browser.quit()
