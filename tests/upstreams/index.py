"""PyPI and pypistats.org."""

from __future__ import annotations

import hashlib
import re
from typing import Any

from aiohttp import web

from tests.upstreams.answering import Answered
from tests.upstreams.projects import FakeProject
from tests.upstreams.upstream import Upstream


class _Index(Upstream):
    def project(self, name: str) -> FakeProject:
        """Return the project of this normalized name. Raises `Answered`."""
        project = self.world.project(name)
        if project is None or name in self._removed:
            raise Answered(self.missing(self._removed.get(name, 404), name))
        return project


class PyPI(_Index):
    sends_validators = True

    def routes(self) -> list[web.RouteDef]:
        return [web.get("/pypi/{name}/json", self._json), web.get("/project/{name}/", self._page)]

    def missing(self, status: int, name: str) -> web.Response:
        return web.json_response({"message": "Not Found"}, status=status)

    def etag(self, request: web.Request, body: bytes) -> str:
        return f'"{hashlib.md5(body).hexdigest()}"'

    async def _json(self, request: web.Request) -> web.Response:
        name = request.match_info["name"]
        project = self.project(_normalized(name))
        if project.name != name:  # PyPI answers for one spelling, and names it to those who use another
            return web.Response(status=301, headers={"Location": f"{self.url}/pypi/{project.name}/json"})
        return self.json(request, _described(project), {"X-PyPI-Last-Serial": str(_serial(project))})

    async def _page(self, request: web.Request) -> web.Response:
        project = self.project(_normalized(request.match_info["name"]))
        return web.Response(text=f"<!DOCTYPE html><h1>{project.name} {project.version}</h1>", content_type="text/html")


class PyPIStats(_Index):
    """PyPI Stats, whose errors have neither ETags nor JSON."""

    def routes(self) -> list[web.RouteDef]:
        return [web.get("/api/packages/{name}/recent", self._recent)]

    async def _recent(self, request: web.Request) -> web.Response:
        project = self.project(_normalized(request.match_info["name"]))
        data = {"last_day": project.last_day, "last_month": project.last_month, "last_week": project.last_week}
        if period := request.query.get("period"):
            data = {key: value for key, value in data.items() if key == f"last_{period}"}
        if not data:
            return self.missing(404, project.name)
        return self.json(request, {"data": data, "package": project.name, "type": "recent_downloads"})


def _normalized(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _serial(project: FakeProject) -> int:
    return project.born % 10**6 + len(project.releases)


def _described(project: FakeProject) -> dict[str, Any]:
    releases = {
        version: [
            {
                "filename": f"{project.name}-{version}.tar.gz",
                "packagetype": "sdist",
                "python_version": "source",
                "requires_python": project.requires_python,
                "size": 4096,
                "upload_time": uploaded.strftime("%Y-%m-%dT%H:%M:%S"),
                "upload_time_iso_8601": uploaded.strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
                "yanked": False,
                "yanked_reason": None,
            }
        ]
        for version, uploaded in project.releases
    }
    info = {
        "author": "",
        "classifiers": project.classifiers,
        "description": f"# {project.name}\n\nLong text",
        "description_content_type": "text/markdown",
        "docs_url": None,
        "downloads": {"last_day": -1, "last_month": -1, "last_week": -1},
        "home_page": "",
        "keywords": None,
        "license": None,
        "license_expression": {"BSD": "BSD-3-Clause", "Apache Software": "Apache-2.0"}.get(project.license, "MIT"),
        "name": project.name,
        "package_url": f"https://pypi.org/project/{project.name}/",
        "project_urls": {"Documentation": f"https://{project.name}.example/docs/"},
        "requires_dist": ["Django>=4.2"],
        "requires_python": project.requires_python,
        "summary": f"What {project.name} does",
        "version": project.version,
        "yanked": False,
        "yanked_reason": None,
    }
    return {
        "info": info,
        "last_serial": _serial(project),
        "releases": releases,
        "urls": releases[project.version],
        "vulnerabilities": [],
    }
