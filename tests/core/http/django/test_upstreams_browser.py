"""The page of the upstreams in a real browser, as staff come to it."""

from __future__ import annotations

import operator
from pathlib import Path

import pytest
import responses as responses_library
from django.contrib.auth.models import User
from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By
from selenium.webdriver.support.expected_conditions import title_contains
from selenium.webdriver.support.wait import WebDriverWait

from core import http
from core.http.testing import OutboundHTTP
from tests.servers.browser import running_chromium

pytestmark = pytest.mark.django_db(transaction=True)
DEADLINE = 60
HEADERS = {
    "X-RateLimit-Limit": "5000",
    "X-RateLimit-Remaining": "4321",
    "X-RateLimit-Reset": "1800",
    "X-RateLimit-Resource": "core",
}


def have_an_outage() -> None:
    """Find pypi down, learn GitHub's quota, be limited by GitLab, and call a host with a long name in vain."""
    with responses_library.RequestsMock() as responses:
        responses.get("https://pypi.test/pypi/django/json", status=503)
        responses.get("https://api.github.test/repos/django/django", headers=HEADERS)
        responses.get("https://gitlab.test/api/v4/projects/1", status=429, headers={"Retry-After": "7200"})
        responses.get(f"https://{'very-long-name.' * 12}test/hook/secret", status=500)
        for _ in range(3):
            http.get("https://pypi.test/pypi/django/json")
        http.get("https://api.github.test/repos/django/django")
        http.get("https://gitlab.test/api/v4/projects/1")
        http.get(f"https://{'very-long-name.' * 12}test/hook/secret")


def open_page(browser: Chrome, site: str) -> None:
    """Log in, and follow the link of the index."""
    browser.get(f"{site}/admin/upstreams/")
    browser.find_element(By.NAME, "username").send_keys("staff")
    browser.find_element(By.NAME, "password").send_keys("secret")
    browser.find_element(By.CSS_SELECTOR, "[type=submit]").click()
    WebDriverWait(browser, DEADLINE).until(title_contains("Upstreams"))
    browser.find_element(By.LINK_TEXT, "Home").click()
    WebDriverWait(browser, DEADLINE).until(title_contains("administration"))
    browser.find_element(By.LINK_TEXT, "Upstreams").click()
    WebDriverWait(browser, DEADLINE).until(title_contains("Upstreams"))


def test_staff_see_an_outage(live_server: object, outbound_http: OutboundHTTP, tmp_path: Path) -> None:
    """After the login, the link on the index leads to a page with the open breaker, the quota and the last error."""
    User.objects.create_user("staff", password="secret", is_staff=True)
    with running_chromium(tmp_path) as browser:
        have_an_outage()
        open_page(browser, str(live_server))
        rows = {
            row.find_element(By.TAG_NAME, "th").text: [cell.text for cell in row.find_elements(By.TAG_NAME, "td")]
            for row in browser.find_elements(By.CSS_SELECTOR, ".upstreams tbody tr")
        }
        breaker, gate, quota, error = rows["pypi"]
        assert breaker.startswith("open since ")
        assert (gate, quota) == ("no pause", "none announced")
        assert error.endswith("GET https://pypi.test/pypi/django/json")
        assert rows["github"][2].startswith("core: 4321 of 5000 left, full again at ")
        assert rows["gitlab"][1].startswith("calls wait until ")
        assert [error for _, _, _, error in rows.values() if "hook" in error] == []
        assert browser.save_screenshot(str(tmp_path / "upstreams.png"))
        dark = {"features": [{"name": "prefers-color-scheme", "value": "dark"}]}
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", dark)
        assert browser.save_screenshot(str(tmp_path / "upstreams-dark.png"))
        browser.set_window_size(400, 800)
        assert browser.save_screenshot(str(tmp_path / "upstreams-dark-narrow.png"))
        width = "return [document.documentElement.scrollWidth, innerWidth]"
        assert operator.le(*browser.execute_script(width)), "part of the page is out of sight"
        complaints = [line for line in browser.get_log("browser") if "/favicon.ico" not in line["message"]]
        assert complaints == []
