"""The hosts of repositories, one file each."""

from __future__ import annotations

from package.repos.base import NotARepository, Repository, split
from package.repos.bitbucket import Bitbucket
from package.repos.forgejo import Codeberg, Forgejo
from package.repos.github import GitHub
from package.repos.gitlab import GitLab

__all__ = ["NotARepository", "Repository", "get_repo_for_repo_url"]

_KNOWN = (GitHub, GitLab, Bitbucket, Codeberg)


def get_repo_for_repo_url(url: str, host: str = "") -> Repository:
    """Return the repository at `url`, which may also be the address of one of its pages, or one to clone it from.

    :param host: the package's `repo_host`. It matters on servers that nobody knows: "forgejo" says that they are such.
    :raises NotARepository:
    """
    address = split(url)
    for kind in _KNOWN:
        if repository := kind.find(address):
            return repository
    if address.host == "gist.github.com":
        raise NotARepository(f"{address} is a gist, which is no repository of a package")
    if host.strip().lower() == Forgejo.source:
        return Forgejo.at(address)
    raise NotARepository(
        f"{address} is on a server that is not known. If that is a Forgejo or a Gitea, set the repository host to"
        f' "{Forgejo.source}"; a GitLab server has to be listed in the setting GITLAB_SERVERS.'
    )
