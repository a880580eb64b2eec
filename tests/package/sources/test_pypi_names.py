"""Reading project names from any text in the field."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from package.sources.pypi_names import pypi_name

FORMS = [
    "Django",
    " Django ",
    "https://pypi.org/project/Django/",
    "https://pypi.org/project/Django",
    "http://pypi.org/project/Django/",
    "https://pypi.org/project/Django/1.0/",
    "https://pypi.org/project/Django/#history",
    "https://pypi.org/project/Django/?utm_source=x#files",
    "https://pypi.org/project/Django#history",
    "https://pypi.org/project/Django?x=1",
    "  https://pypi.org/project/Django/  \n",
    "https://pypi.org/project/Django//",
    "https://pypi.org//project//Django/",
    "https://PyPI.org/project/Django/",
    "HTTPS://PYPI.ORG/project/Django/",
    "https://pypi.org:443/project/Django/",
    "https://www.pypi.org/project/Django/",
    "https://pypi.org/project/%44jango/",
    "https://pypi.org/pypi/Django",
    "https://pypi.org/pypi/Django/",
    "https://pypi.org/pypi/Django/1.0",
    "https://pypi.org/pypi/Django/json",
    "https://pypi.org/pypi/Django/1.0/json",
    "https://pypi.org/p/Django",
    "https://pypi.org/p/Django/",
    "https://pypi.org/simple/Django/",
    "http://pypi.python.org/pypi/Django",
    "https://pypi.python.org/pypi/Django/",
    "https://pypi.python.org/pypi/Django/1.0",
    "https://pypi.python.org/pypi/Django/json",
    "https://pypi.python.org/simple/Django",
    "https://www.pypi.python.org/pypi/Django",
    "http://pypi.python.org/pypi?name=Django&:action=display",
    "http://pypi.python.org/pypi?:action=display&name=Django&version=1.0",
    "https://pypi.python.org/pypi/?%3Aaction=display&name=Django",
    "https://pypi.io/project/Django/",
    "https://warehouse.python.org/project/Django/",
    "pypi.org/project/Django/",
    "pypi.org/project/Django",
    "pypi.org/project/Django//",
    "www.pypi.org/project/Django",
    "pypi.python.org/pypi/Django",
    "//pypi.org/project/Django/",
]
NO_PROJECT = [
    "",
    " ",
    "/",
    ".",
    "..",
    "-",
    "https://pypi.org",
    "https://pypi.org/",
    "https://pypi.org/project/",
    "https://pypi.org/pypi",
    "https://pypi.org/simple/",
    "https://pypi.org/user/django/",
    "https://pypi.org/search/?q=Django",
    "https://pypi.org/project/../",
    "https://pypi.org/project/Django%2F..%2Fother/",
    "https://pypi.org/project/a b/",
    "https://pypi.org/project/%00/",
    "https://test.pypi.org/project/Django/",
    "https://testpypi.python.org/pypi/Django",
    "https://github.com/django/django",
    "https://github.com/pypi/Django",
    "https://example.org/project/Django/",
    "https://notpypi.org/project/Django/",
    "https://pypi-mirror.example.org/project/Django/",
    "https://example.org/?next=https://pypi.org/project/Django/",
    "https://pypi.org@example.org/project/Django/",
    "https://[pypi.org/project/Django/",
    "https://",
    "http:///project/Django/",
    "Django 1.0",
    "Django==1.0",
    "-Django",
    "Django-",
    "django\0",
    "\ud800",
]


@pytest.mark.parametrize("value", FORMS)
def test_every_form_in_use_is_understood(value: str) -> None:
    """The name is read from the address of any page of a project."""
    assert pypi_name(value) == "Django"


@pytest.mark.parametrize("value", NO_PROJECT)
def test_urls_without_a_project_have_no_name(value: str) -> None:
    """Pages of another site, of the test index or of a user give no name of a project."""
    assert pypi_name(value) == ""


@pytest.mark.parametrize("name", ["a", "A1", "zope.interface", "django_x", "django-x", "x" * 200, "0"])
def test_every_name_that_pypi_allows_is_accepted(name: str) -> None:
    """Every name that PyPI allows is accepted, bare and in a URL."""
    assert pypi_name(name) == name
    assert pypi_name(f"https://pypi.org/project/{name}/") == name


def test_the_host_of_the_settings_counts_as_pypi() -> None:
    """The host in the settings, such as a mirror, counts as PyPI; other hosts do not."""
    assert pypi_name("https://mirror.example/project/Django/", "mirror.example") == "Django"
    assert pypi_name("https://other.example/project/Django/", "mirror.example") == ""


@pytest.mark.parametrize("host", ["pypi.example.org", "mirror.pypi.example.org"])
def test_other_peoples_hosts_are_not_pypi(host: str) -> None:
    """Hosts with names that resemble PyPI's do not count as PyPI."""
    assert pypi_name(f"https://{host}/project/Django/") == ""


@pytest.mark.parametrize("value", ["\u017f", "django\u017f", "\u212aelvin", "\u0131x", "Ünicode"])
def test_names_are_ascii(value: str) -> None:
    """Names outside ASCII are refused, as PyPI has none."""
    assert pypi_name(value) == ""


@given(st.text(st.characters(exclude_categories=())) | st.from_regex(r"(https?:)?//[^/]*pypi[^/]*/(project|pypi)/.*"))
def test_never_raises_and_never_makes_a_name_up(value: str) -> None:
    """Any text gives a name that is safe in a URL, or ""."""
    name = pypi_name(value)
    assert not set(name) & set("/?#%@:\\ \0")
    assert name.strip(".") or not name
