"""Parsing the addresses of repositories in all forms."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pytest_django import Settings

from package.repos import NotARepository, get_repo_for_repo_url

GITHUB = ("github", "https://api.github.test", "https://github.com", "owner/name")
GITLAB = ("gitlab", "https://gitlab.test/api/v4", "https://gitlab.com", "group/name")
BITBUCKET = ("bitbucket", "https://api.bitbucket.test/2.0", "https://bitbucket.org", "owner/name")
CODEBERG = ("codeberg", "https://codeberg.test/api/v1", "https://codeberg.org", "owner/name")
OWN = ("gitlab", "https://gitlab.example.org/api/v4", "https://gitlab.example.org")


@pytest.mark.parametrize(
    ("url", "found"),
    [
        ("https://github.com/owner/name", GITHUB),
        ("https://github.com/owner/name/", GITHUB),
        ("https://github.com//owner//name//", GITHUB),
        ("  https://github.com/owner/name\n", GITHUB),
        ("http://github.com/owner/name", GITHUB),
        ("HTTPS://GitHub.COM/owner/name", GITHUB),
        ("https://github.com./owner/name", GITHUB),
        ("https://github.com:443/owner/name", GITHUB),
        ("https://www.github.com/owner/name", GITHUB),
        ("https://somebody:secret@github.com/owner/name", GITHUB),
        ("//github.com/owner/name", GITHUB),
        ("github.com/owner/name", GITHUB),
        ("www.github.com/owner/name.git", GITHUB),
        ("https://github.com/owner/name.git", GITHUB),
        ("https://github.com/owner/name.git/", GITHUB),
        ("https://github.com/owner/name.git/tree/main", GITHUB),
        ("https://github.com/owner/name?tab=readme-ov-file", GITHUB),
        ("https://github.com/owner/name#readme", GITHUB),
        ("https://github.com/owner/name/tree/main/docs", GITHUB),
        ("https://github.com/owner/name/blob/main/a%20b.py#L3", GITHUB),
        ("https://github.com/owner/name/../../x", GITHUB),
        ("git@github.com:owner/name.git", GITHUB),
        ("git@github.com:/owner/name.git", GITHUB),
        ("github.com:owner/name", GITHUB),
        ("ssh://git@github.com/owner/name.git", GITHUB),
        ("ssh://git@github.com:22/owner/name.git", GITHUB),
        ("git+ssh://git@github.com/owner/name.git", GITHUB),
        ("git+https://github.com/owner/name.git", GITHUB),
        ("git://github.com/owner/name.git", GITHUB),
        ("https://github.com/o-w_n/na.me-1_2.js", (*GITHUB[:3], "o-w_n/na.me-1_2.js")),
        ("https://github.com/owner/.github", (*GITHUB[:3], "owner/.github")),
        ("https://gitlab.com/group/name", GITLAB),
        ("https://gitlab.com/group/name.git", GITLAB),
        ("https://gitlab.com/group/name/-/tree/main/src", GITLAB),
        ("https://gitlab.com/group/name/-/", GITLAB),
        ("https://gitlab.com/group/name/tree/main", GITLAB),
        ("https://gitlab.com/group/name/issues/5", GITLAB),
        ("https://gitlab.com/group/name.git/info/refs", GITLAB),
        ("git@gitlab.com:group/name.git", GITLAB),
        ("https://gitlab.com/group/sub/sub2/name", (*GITLAB[:3], "group/sub/sub2/name")),
        ("https://gitlab.com/group/sub/name/-/issues", (*GITLAB[:3], "group/sub/name")),
        ("https://gitlab.test/group/name", (*GITLAB[:2], "https://gitlab.test", "group/name")),
        ("https://gitlab.example.org/a/b", (*OWN, "a/b")),
        ("http://GitLab.Example.org/a/b/c/-/blob/main/x", (*OWN, "a/b/c")),
        ("ssh://git@gitlab.example.org:2222/a/b.git", (*OWN, "a/b")),
        ("git@gitlab.example.org:a/b.git", (*OWN, "a/b")),
        ("https://bitbucket.org/owner/name", BITBUCKET),
        ("https://bitbucket.org/owner/name/src/main/setup.py", BITBUCKET),
        ("https://somebody@bitbucket.org/owner/name.git", BITBUCKET),
        ("git@bitbucket.org:owner/name.git", BITBUCKET),
        ("https://codeberg.org/owner/name", CODEBERG),
        ("https://codeberg.org/owner/name/src/branch/main", CODEBERG),
        ("ssh://git@codeberg.org/owner/name.git", CODEBERG),
        ("https://codeberg.test/owner/name", (*CODEBERG[:2], "https://codeberg.test", "owner/name")),
    ],
)
def test_known_servers(url: str, found: tuple[str, ...]) -> None:
    """A known server is recognized by the address, for any `repo_host`."""
    for host in ("", "forgejo"):
        repository = get_repo_for_repo_url(url, host)
        assert (repository.source, repository.server.api, repository.web, repository.path) == found
        assert not repository.untrusted
        assert get_repo_for_repo_url(repository.url).path == repository.path


@pytest.mark.parametrize(
    ("url", "api", "path"),
    [
        ("https://git.example.net/owner/name", "https://git.example.net/api/v1", "owner/name"),
        ("https://www.example.net/owner/name.git", "https://www.example.net/api/v1", "owner/name"),
        ("https://Git.Example.net:443/owner/name/issues", "https://git.example.net/api/v1", "owner/name"),
        ("https://git.example.net:8443/o.w/n", "https://git.example.net:8443/api/v1", "o.w/n"),
        ("http://git.example.net/owner/name", "http://git.example.net/api/v1", "owner/name"),
        ("git.example.net/owner/name", "https://git.example.net/api/v1", "owner/name"),
        ("git.example.net:3000/owner/name", "https://git.example.net:3000/api/v1", "owner/name"),
        ("ssh://git@git.example.net:2222/owner/name.git", "https://git.example.net/api/v1", "owner/name"),
        ("git@git.example.net:owner/name.git", "https://git.example.net/api/v1", "owner/name"),
        ("https://gít.example.net/owner/name", "https://xn--gt-nja.example.net/api/v1", "owner/name"),
        ("https://github.com.example.net/owner/name", "https://github.com.example.net/api/v1", "owner/name"),
        ("https://user:secret@git.example.net/owner/name", "https://git.example.net/api/v1", "owner/name"),
        ("https://[2001:db8::1]/owner/name", "https://[2001:db8::1]/api/v1", "owner/name"),
        ("https://gitlab.example.org:8443/owner/name", "https://gitlab.example.org:8443/api/v1", "owner/name"),
        ("https://example.net/git/owner/name", "https://example.net/git/api/v1", "owner/name"),
        ("https://example.net/git/owner/name/", "https://example.net/git/api/v1", "owner/name"),
        ("https://example.net/git/owner/name.git", "https://example.net/git/api/v1", "owner/name"),
        ("https://example.net/git/owner/name/src/branch/main/a/b", "https://example.net/git/api/v1", "owner/name"),
        ("https://example.net/dev/git~1/owner/name/issues/5", "https://example.net/dev/git~1/api/v1", "owner/name"),
        ("https://git.example.net/owner/name/src/branch/main/a/b", "https://git.example.net/api/v1", "owner/name"),
        ("https://git.example.net/owner/name.git/info/refs", "https://git.example.net/api/v1", "owner/name"),
        ("https://git.example.net/owner/wiki", "https://git.example.net/api/v1", "owner/wiki"),
        ("https://git.example.net/owner/name/../../x", "https://git.example.net/api/v1", "owner/name"),
        ("ssh://git@example.net/owner/name.git/x", "https://example.net/api/v1", "owner/name"),
    ],
)
def test_forgejo(url: str, api: str, path: str) -> None:
    """Other servers are used according to `repo_host`, and are untrusted."""
    repository = get_repo_for_repo_url(url, " Forgejo ")
    assert (repository.source, repository.server.api, repository.path) == ("forgejo", api, path)
    assert repository.untrusted
    assert not repository.server.token


@pytest.mark.parametrize(
    "url",
    [
        "https://github.com.evil.test/owner/name",
        "https://evilgithub.com/owner/name",
        "https://api.github.com/repos/owner/name",
        "https://github.com@evil.test/owner/name",
        "https://github.com:8443/owner/name",
        "https://evil.test/github.com/owner/name",
        "https://evil.test\\@github.com.evil.test/owner/name",
        "https://sub.gitlab.com/group/name",
        "https://gitlab.example.org.evil.test/a/b",
        "git@evil.test:github.com/owner/name",
        "owner/name",
    ],
)
def test_unknown_servers(url: str) -> None:
    """A host that resembles a known server is unknown; the error says what to do."""
    for host in ("", "github", "gitlab", "codeberg", "nonsense"):
        with pytest.raises(NotARepository, match=r"forgejo.*GITLAB_SERVERS"):
            get_repo_for_repo_url(url, host)


@pytest.mark.parametrize(
    "url",
    [
        "https://github.com",
        "https://github.com/owner",
        "https://github.com/owner/",
        "https://github.com/owner/.git",
        "https://github.com/owner/..",
        "https://github.com/../name",
        "https://github.com/%2e%2e/name",
        "https://github.com/owner%2fname",
        "https://github.com/owner/na%00me",
        "https://github.com/owner/näme",
        "https://github.com/ow.ner/name",
        "https://github.com/-owner/name",
        f"https://github.com/owner/{'n' * 101}",
        "https://github.com/topics/django",
        "https://github.com/orgs/django/repositories",
        "https://github.com/Sponsors/owner",
        "https://gist.github.com/owner/0123456789abcdef",
        "git@github.com:name.git",
        "https://gitlab.com/group",
        "https://gitlab.com/groups/group/-/issues",
        "https://gitlab.com/group/-/issues",
        "https://gitlab.com/group/../name",
        "https://gitlab.com/group/-name",
        "https://gitlab.com/group/%2e%2e/name",
        "https://gitlab.com/users/owner/projects",
        "https://bitbucket.org/owner",
        "https://bitbucket.org/owner/workspace/projects/X",
        "https://codeberg.org/owner",
        "https://codeberg.org/owner/-/packages",
        "https://codeberg.org/explore/repos",
        "https://codeberg.org/user/login",
        "https://git.example.net/owner",
        "https://git.example.net/org/owner/teams",
        "https://git.example.net/api/v1/repos/owner/name",
        "https://git.example.net/git/explore/repos",
        "https://git.example.net/git/owner/-/packages",
    ],
)
def test_no_repository(url: str) -> None:
    """Other pages of a host are not repositories."""
    with pytest.raises(NotARepository, match=r"repository|gist"):
        get_repo_for_repo_url(url, "forgejo")


@pytest.mark.parametrize(
    "url",
    [
        "",
        " ",
        "https://",
        "https:///owner/name",
        "https://./owner/name",
        "https://git.example.net:99999/owner/name",
        "https://[::1/owner/name",
        "https://git example.net/owner/name",
        "https://git\texample.net/owner/name",
        "https://git.example.net/owner/na me",
        "https://git.example.net/owner/name\x00",
        "https://git.example.net/owner/\ud800",
        "https://git%2eexample.net/owner/name",
        "https://a\\b/owner/name",
        "file:///owner/name",
        "mailto:owner@example.net",
        ":owner/name",
    ],
)
def test_no_address(url: str) -> None:
    """Addresses without a valid host are refused."""
    with pytest.raises(NotARepository):
        get_repo_for_repo_url(url, "forgejo")


def test_no_secrets() -> None:
    """The error is stored and shown, so it contains no secrets of the address."""
    with pytest.raises(NotARepository, match=r"evil\.test") as raised:
        get_repo_for_repo_url("https://me:secret@evil.test/owner/name?token=secret")
    assert "secret" not in str(raised.value)


def test_long_addresses() -> None:
    """The error of a long address is cut off."""
    with pytest.raises(NotARepository) as raised:
        get_repo_for_repo_url("https://evil.test/" + "x" * 10_000)
    assert len(str(raised.value)) < 500


def test_gitlab_below_a_path(settings: Settings) -> None:
    """A GitLab server need not be at the root of its host; for ssh it always is."""
    settings.GITLAB_SERVERS = ["https://example.org:8443/git/lab"]
    settings.GITLAB_SERVER_TOKENS = {"example.org": "secret"}
    repository = get_repo_for_repo_url("https://example.org:8443/git/lab/a/b/-/tree/main")
    assert (repository.path, repository.url) == ("a/b", "https://example.org:8443/git/lab/a/b")
    assert (repository.server.api, repository.server.token) == ("https://example.org:8443/git/lab/api/v4", "secret")
    assert get_repo_for_repo_url("git@example.org:a/b.git").url == repository.url
    for other in ("https://example.org:8443/git/a/b", "https://example.org/git/lab/a/b"):
        with pytest.raises(NotARepository):
            get_repo_for_repo_url(other)


def test_tokens(settings: Settings) -> None:
    """Each server is asked with its own token."""
    settings.GITHUB_TOKEN, settings.GITLAB_TOKEN = "for-github", "for-gitlab"
    settings.BITBUCKET_TOKEN, settings.CODEBERG_TOKEN = "for-bitbucket", "for-codeberg"
    settings.GITLAB_SERVERS = ["https://gitlab.example.org", "https://other.example.org"]
    settings.GITLAB_SERVER_TOKENS = {"gitlab.example.org": "for-own"}
    tokens = {
        "https://github.com/o/n": "for-github",
        "https://gitlab.com/o/n": "for-gitlab",
        "https://gitlab.example.org/o/n": "for-own",
        "https://other.example.org/o/n": "",
        "https://bitbucket.org/o/n": "for-bitbucket",
        "https://codeberg.org/o/n": "for-codeberg",
        "https://git.example.net/o/n": "",
    }
    assert {url: get_repo_for_repo_url(url, "forgejo").server.token for url in tokens} == tokens


_WORDS = (
    "https://",
    "git@",
    "ssh://",
    "github.com",
    "gitlab.com",
    "codeberg.org",
    "gitlab.example.org",
    "owner",
    "name",
)
_MARKS = (
    "/",
    ":",
    "//",
    ".git",
    ".",
    "..",
    "-",
    "%",
    "@",
    "#",
    "?",
    "[",
    "]",
    "\\",
    "é",
    "\x00",
    "\ud800",
    ":80",
    "xn--",
)
_PIECES = st.sampled_from(_WORDS + _MARKS)


@given(st.one_of(st.text(), st.lists(_PIECES).map("".join)), st.sampled_from(["", "forgejo", "gitlab"]))
def test_nothing_else_is_raised(url: str, host: str) -> None:
    """Any text either is a repository with a valid server, or raises NotARepository."""
    try:
        repository = get_repo_for_repo_url(url, host)
    except NotARepository as exc:
        assert str(exc).isprintable()  # noqa: PT017 - it need not be raised
    else:
        assert repository.path.replace("/", "").strip(".")
        assert not {"", ".", ".."} & set(repository.path.split("/"))
        assert repository.url.isascii()
        assert get_repo_for_repo_url(repository.url, host).url == repository.url
