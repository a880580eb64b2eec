"""The hosts of repositories. Each has its own file."""

from __future__ import annotations

from package.repos.base import NotARepository, Repository, split
from package.repos.bitbucket import Bitbucket
from package.repos.forgejo import Codeberg, Forgejo
from package.repos.github import GitHub
from package.repos.gitlab import GitLab

__all__ = ["NotARepository", "Repository", "get_repo_for_repo_url"]

_KNOWN = (GitHub, GitLab, Bitbucket, Codeberg)


def get_repo_for_repo_url(url: str, host: str = "") -> Repository:
    """Return the repository at `url`, which may also be the address of one of its pages, or its clone address.

    :param host: `repo_host` of the package. "forgejo" means that a server that is not known runs Forgejo or Gitea.
    :raises NotARepository: if `url` is not the address of a repository, or its server is not known.
    """
    address = split(url)
    for kind in _KNOWN:
        if repository := kind.find(address):
            return repository
    if address.host == "gist.github.com":
        raise NotARepository(f"{address} is a gist, not the repository of a package")
    if host.strip().lower() == Forgejo.source:
        return Forgejo.at(address)
    raise NotARepository(
        f"{address} is on an unknown server. If the server runs Forgejo or Gitea, set the repository host to"
        f' "{Forgejo.source}". If it runs GitLab, add it to the setting GITLAB_SERVERS.'
    )
