"""Addresses become links only where they lead to a web server, on every page that shows them."""

from __future__ import annotations

import re

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client
from django.urls import reverse
from django.utils.html import escape

from package.models import Package, PackageExample
from package.safe_links import is_web_address
from tests.package.conftest import MakePackage

LINKS = ["https://example.org/", "HTTP://Example.org:8080/a?b=c&d#e", "http://[::1]/", "https://user@example.org/%20"]
OTHERS = [
    "javascript:alert(1)",
    " JAVASCRIPT:alert(1)",
    "\x01javascript:alert(1)",
    "java\tscript:alert(1)",
    "java\nscript:alert(1)//http://example.org/",
    "data:text/html,<script>alert(1)</script>",
    "vbscript:msgbox(1)",
    "//example.org/",
    "/admin/logout/",
    "example.org",
    "ftp://example.org/",
    "git@example.org:owner/name",
    " https://example.org/",
    "https://example.org/\n",
    "https:\t//example.org/",
    "https:example.org",
    "https:///path",
    "https://",
    "http://[::1",
]


@pytest.mark.parametrize("address", LINKS)
def test_web_addresses_are_links(address: str) -> None:
    """Web addresses are links, in any spelling of the scheme and with any path."""
    assert is_web_address(address)


@pytest.mark.parametrize("address", OTHERS)
def test_all_others_are_not(address: str) -> None:
    """Addresses that run a script, lead to this site or are ambiguous to browsers are shown as text."""
    assert not is_web_address(address)


@pytest.fixture
def stored(make_package: MakePackage) -> PackageExample:
    """Store a package and an example without validation."""
    return PackageExample.objects.create(package=make_package("fortune"), title="A site", url="https://example.org/")


@pytest.fixture
def observer(client: Client, db: None) -> Client:
    """Return the browser of a staff user who may view everything and change nothing."""
    user = User.objects.create_user("observer", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__startswith="view_"))
    client.force_login(user)
    return client


def hrefs(client: Client, page: str) -> tuple[set[str], str]:
    """Return where the links of a page lead, and the page."""
    text = client.get(page).text
    return set(re.findall('href="([^"]*)"', text)), text


def pages(stored: PackageExample) -> list[str]:
    return [
        stored.package.get_absolute_url(),
        reverse("admin:package_package_change", args=[stored.package.pk]),
        reverse("admin:package_packageexample_change", args=[stored.pk]),
        reverse("admin:package_packageexample_changelist"),
    ]


@pytest.mark.filterwarnings("ignore:The default scheme will be changed")
@pytest.mark.parametrize("who", ["admin_client", "observer"])
@pytest.mark.parametrize(
    ("address", "links"), [("https://example.org/?a=1&b=2", True), *((bad, False) for bad in OTHERS[::3])]
)
def test_every_page_keeps_to_that(
    stored: PackageExample, who: str, address: str, links: bool, request: pytest.FixtureRequest
) -> None:
    """The page of a package, and the admin's forms and lists, for users with and without permission to change."""
    client: Client = request.getfixturevalue(who)
    Package.objects.update(repo_url=address, documentation_url=address)
    PackageExample.objects.update(url=address)
    for page in pages(stored):
        found, text = hrefs(client, page)
        assert (escape(address) in found) == links, page
        assert escape(address.strip()) in text, page
