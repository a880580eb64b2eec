"""The odd shapes that real projects have on PyPI, each made up anew: what is stored is what PyPI shows.

Each shape was seen in the JSON of a project that its name tells of; texts, dates and numbers are ours.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import pytest

from package.models import Package
from package.sources.fetch_results import FetchOutcome
from tests.package.conftest import CannedPyPI, MakePackage, of

PY3, PY2 = "Programming Language :: Python :: 3", "Programming Language :: Python :: 2"
STABLE, MATURE = "Development Status :: 5 - Production/Stable", "Development Status :: 6 - Mature"
OSI = "License :: OSI Approved"
APACHE, BSD, MIT = f"{OSI} :: Apache Software License", f"{OSI} :: BSD License", f"{OSI} :: MIT License"
DAY = "2024-05-06T07:08:09.123456Z"


def file(time: str = DAY, *, yanked: bool = False) -> dict[str, Any]:
    return {"upload_time_iso_8601": time, "upload_time": time[:19], "yanked": yanked, "size": 1}


def releases(*numbers: str, empty: tuple[str, ...] = (), yanked: tuple[str, ...] = ()) -> dict[str, Any]:
    """Return releases of one file each, of none, and such that were yanked."""
    return {
        **{number: [file()] for number in numbers},
        **{number: [] for number in empty},
        **{number: [file(yanked=True), file(yanked=True)] for number in yanked},
    }


@dataclass
class Shape:
    """Values that differ from the common JSON of all projects, and the expected stored values."""

    version: str
    releases: dict[str, Any]
    info: dict[str, Any]
    licenses: list[str]
    docs: str = ""
    python3: bool | None = True
    status: int = 0
    latest: str | None = ""
    """"": `version`."""
    skipped: set[str] = field(default_factory=set)


LONG = " AND ".join(
    ("MIT", "Zlib", "ISC", "0BSD", "CC0-1.0", "BSL-1.0", "BSD-3-Clause", "Apache-2.0 WITH LLVM-exception") * 2
)
NIGHTLY = tuple(
    f"2.{minor}.0.dev2024{month:02}{day:02}" for minor in (8, 9) for month in (1, 2) for day in range(1, 29)
)
SHAPES = {
    "boto3: thousands of releases, a modern name in the old field": Shape(
        "1.44.8",
        releases(*(f"1.{minor}.{micro}" for minor in range(45) for micro in range(48 if minor < 44 else 9))),
        {"license": "Apache-2.0", "classifiers": [STABLE, PY3], "project_urls": {"Documentation": "https://d.example/"}},
        ["Apache-2.0"],
        docs="https://d.example/",
        status=5,
    ),
    "tf-nightly: pre-releases only": Shape(
        NIGHTLY[-1],
        releases(*NIGHTLY),
        {"license": "Apache 2.0", "classifiers": [STABLE, PY3, APACHE], "project_urls": {"Download": "https://x.example/"}},
        ["Apache 2.0", "Apache Software License"],
        status=5,
    ),
    "PIL: registered, and never a file": Shape(
        "1.1.6",
        releases(empty=("1.0", "1.1.4", "1.1.6")),
        {"license": "Python (MIT style)", "classifiers": [MATURE], "requires_python": None},
        ["Python (MIT style)"],
        python3=None,
        status=6,
    ),
    "pytz: versions from before PEP 440, documents on a host that is gone": Shape(
        "2026.6",
        releases("2026.6", "2025.2", "2004d", "2005k", "2006p"),
        {"license": "MIT", "classifiers": [MATURE, MIT, PY2, PY3], "docs_url": "https://pythonhosted.example/pytz/"},
        ["MIT", "MIT License"],
        docs="https://pythonhosted.example/pytz/",
        status=6,
    ),
    "nothing but versions from before PEP 440": Shape(
        "final-2", releases("final-1", "final-2"), {"license": "BSD"}, ["BSD"], python3=None
    ),
    "nltk: one of them among proper ones, and some without files": Shape(
        "3.10.4",
        releases("3.10.4", "3.9", "2.0.1rc2-git", empty=("0.8", "0.9"), yanked=("3.9.2",)),
        {"license": "Apache License, Version 2.0", "classifiers": [APACHE], "requires_python": ">=3.5.*"},
        ["Apache License, Version 2.0", "Apache Software License"],
    ),
    "cffi: the newest was yanked, and info tells of the one before": Shape(
        "1.14.2",
        releases("1.14.2", yanked=("1.14.3",)),
        {"license": "MIT", "classifiers": [PY3]},
        ["MIT"],
    ),
    "all of it yanked": Shape(
        "2.0", releases(yanked=("1.0", "2.0")), {"license": "MIT", "yanked": True}, ["MIT"], python3=None, latest=None,
        skipped={"version.number"},
    ),
    "zope.interface: an expression, and a name with a dot": Shape(
        "8.7",
        releases("8.7", "8.6", yanked=("8.5",)),
        {"license_expression": "ZPL-2.1", "classifiers": [STABLE, PY3, f"{PY3} :: Only"], "requires_python": ">=3.11"},
        ["ZPL-2.1"],
        status=5,
    ),
    "torch: an expression of more than a hundred characters": Shape(
        "2.15.0", releases("2.15.0"), {"license_expression": LONG, "classifiers": [f"{PY3} :: Only"]}, [LONG]
    ),
    "setuptools of old: expression, text and classifiers side by side": Shape(
        "1.0",
        releases("1.0"),
        {"license_expression": "MIT", "license": "BSD", "classifiers": [APACHE], "requires_python": "~=3.11.4"},
        ["MIT"],
    ),
    "scipy: the text of a license of fifty thousand characters": Shape(
        "1.18.1",
        releases("1.18.1", "1.18.0rc1"),
        {"license": "Copyright (c)\n\n" + "words " * 9000, "classifiers": [BSD, PY3],
         "project_urls": {"documentation": "https://d.example/scipy/", "homepage": "https://x.example/"}},
        ["BSD License"],
        docs="https://d.example/scipy/",
    ),
    "sklearn: nothing at all but a version": Shape(
        "0.0.post12",
        releases("0.0.post12", "0.0", yanked=("0.0.post1",)),
        {"license": "", "requires_python": "", "project_urls": None, "author": None},
        [],
        python3=None,
    ),
    "PyQt5-Qt: one release, no classifiers": Shape(
        "5.15.2", {"5.15.2": [file(), file("2024-05-05T00:00:00Z")]}, {"license": "LGPL v3", "requires_python": ""},
        ["LGPL v3"], python3=None,
    ),
    "azure-iot-hub: Pythons are left out one by one": Shape(
        "2.7.0",
        releases("2.7.0"),
        {"license": "MIT License", "classifiers": [STABLE, MIT], "requires_python": "!=3.0.*,!=3.3*,<4,>=2.7"},
        ["MIT License"],
        status=5,
    ),
    "django-robots: any Python after 1.1.1": Shape(
        "4.0", releases("4.0"), {"classifiers": [BSD], "requires_python": ">1.1.1"}, ["BSD License"]
    ),
    "flufl.i18n: two development statuses, the documents in two places": Shape(
        "8.0.0",
        releases("8.0.0"),
        {"license": "Apache-2.0", "classifiers": [STABLE, MATURE, APACHE, PY3], "docs_url": "https://old.example/",
         "project_urls": {"Documentation": "https://new.example", "Source Code": "https://x.example/a.git"}},
        ["Apache-2.0", "Apache Software License"],
        docs="https://new.example",
        status=6,
    ),
    "pywin32: versions that are one number, and Docs for a label": Shape(
        "312",
        releases("312", "311", "300", "99"),
        {"license": "PSF", "classifiers": [f"{PY3}.13"], "project_urls": {"Docs": "https://d.example/pywin32/"}},
        ["PSF"],
        docs="https://d.example/pywin32/",
    ),
    "Plone: a description of fifty thousand characters, which is not stored": Shape(
        "6.2.2",
        releases("6.2.2", "6.2.2rc1", "5.2.15"),
        {"license": "GPL version 2", "description": "changed\n" * 7000, "requires_python": ">=3.10"},
        ["GPL version 2"],
    ),
    "a local version, an epoch and a post release": Shape(
        "1!0.2.post1+deb11", releases("1!0.2.post1+deb11", "2024.1", "1!0.2"), {"license": "MIT", "classifiers": [PY3]},
        ["MIT"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", SHAPES)
def test_is_stored_as_pypi_shows_it(make_package: MakePackage, pypi: CannedPyPI, name: str) -> None:
    """Every field of a package and of its latest version."""
    shape = SHAPES[name]
    info = {
        "name": "Odd.Project",
        "version": shape.version,
        "classifiers": [],
        "license": None,
        "license_expression": None,
        "license_files": None,
        "requires_python": None,
        "project_urls": {"Homepage": "https://x.example/"},
        "docs_url": None,
        "yanked": False,
        **shape.info,
    }
    pypi.says("odd-project", {"info": info, "releases": shape.releases, "urls": []})
    result = of(make_package("odd", pypi_url="odd-project").fetch_metadata())
    assert {each.field for each in result.skipped} == shape.skipped
    assert result.outcome is (FetchOutcome.PARTLY if shape.skipped else FetchOutcome.UPDATED)

    kept = Package.objects.select_related("latest_version").get()
    assert kept.pypi_info == {key: value for key, value in info.items() if key != "description"}
    assert kept.pypi_classifiers == info["classifiers"]
    assert kept.pypi_requires_python == (info["requires_python"] or "")
    assert (kept.pypi_licenses, kept.pypi_license) == (shape.licenses, [*shape.licenses, ""][0])
    assert (kept.supports_python3, kept.documentation_url) == (shape.python3, shape.docs)
    version = kept.latest_version
    if shape.latest is None:
        assert version is None
        return
    assert version
    assert version.number == (shape.latest or shape.version)
    assert (version.licenses, version.license) == (kept.pypi_licenses, kept.pypi_license)
    assert (version.development_status, version.supports_python3) == (shape.status, bool(shape.python3))
    times = [each["upload_time_iso_8601"] for each in shape.releases[version.number]]
    assert version.upload_time == (datetime.fromisoformat(min(times)).astimezone(UTC) if times else None)
