"""The client: answers of several pages, linked by the Link header."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from responses import RequestsMock

from package.sources.errors import (
    NotModified,
    Unreachable,
    Unusable,
)
from tests.package.sources.client_calls import API, URL, ask, client


class TestPages:
    """pages."""

    @staticmethod
    def book(responses: RequestsMock, **following: str) -> None:
        """Answer with pages; `p1="…"` is the next link of page 1."""
        for name, follow in following.items():
            headers = {"Link": f'<{follow}>; rel="next", <{API}/p9>; rel="last"', "ETag": f'"{name}"'}
            responses.get(f"{API}/{name}", json=[name], headers=headers if follow else {})

    @staticmethod
    def read(limit: int = 10, known: Mapping[str, Any] | None = None, first: str = "p1") -> list[Any]:
        return [answer.data[0] for answer in client(known).pages(first, {}, limit, kind=list)]

    def test_follow_each_other(self, responses: RequestsMock) -> None:
        """Each page names the next, by a whole address or a part of one; the last one names none."""
        self.book(responses, p1=f"{API}/p2", p2="/p3", p3="")
        assert self.read() == ["p1", "p2", "p3"]

    @pytest.mark.parametrize("limit", [1, 2, 3])
    def test_have_a_limit(self, responses: RequestsMock, limit: int) -> None:
        """The number of pages is limited."""
        self.book(responses, p1=f"{API}/p2", p2=f"{API}/p3", p3=f"{API}/p4", p4="")
        assert len(self.read(limit)) == len(responses.calls) == limit

    def test_are_asked_for_one_by_one(self, responses: RequestsMock) -> None:
        """A page is requested only when the caller asks for it."""
        self.book(responses, p1=f"{API}/p2", p2="")
        next(client().pages("p1", {}, 10, kind=list))
        assert len(responses.calls) == 1

    @pytest.mark.parametrize("back", ["p1", "p2"])
    def test_in_a_circle_are_refused(self, responses: RequestsMock, back: str) -> None:
        """Pages that link to each other in a loop are refused."""
        self.book(responses, p1=f"{API}/p2", p2=f"{API}/{back}")
        with pytest.raises(Unusable, match="in a loop"):
            self.read(1000)
        assert len(responses.calls) == 2

    @pytest.mark.parametrize("follow", ["https://inner.test/p2", "//inner.test:8080/p2", "http://pypi.test/p2"])
    def test_follow_each_other_under_another_name(self, responses: RequestsMock, follow: str) -> None:
        """Next pages with an internal name are requested at the origin, and a loop is still detected."""
        self.book(responses, p1=follow, p2="")
        assert self.read() == ["p1", "p2"]
        self.book(responses, p3=follow.replace("p2", "p4"), p4=follow.replace("p2", "p3"))
        with pytest.raises(Unusable, match="in a loop"):
            self.read(first="p3")
        assert len(responses.calls) == 4

    @pytest.mark.parametrize("follow", ["https://[::1", "https://:80/", "ftp://pypi.test/p2"])
    def test_that_lead_nowhere_are_refused(self, responses: RequestsMock, follow: str) -> None:
        """An invalid next address is refused."""
        self.book(responses, p1=follow)
        with pytest.raises(Unusable, match="not below its API"):
            self.read()
        assert len(responses.calls) == 1

    def test_that_are_not_there_do_not_mean_that_all_is_gone(self, responses: RequestsMock) -> None:
        """A missing following page raises Unusable, not Gone."""
        self.book(responses, p1=f"{API}/p2")
        responses.get(f"{API}/p2", status=404)
        with pytest.raises(Unusable, match="does not exist"):
            self.read()

    def test_of_a_server_that_fails_in_the_middle(self, responses: RequestsMock) -> None:
        """If a following page fails, so does the whole request."""
        self.book(responses, p1=f"{API}/p2")
        responses.get(f"{API}/p2", status=503)
        with pytest.raises(Unreachable):
            self.read()

    def test_only_the_first_is_conditional(self, responses: RequestsMock) -> None:
        """If the first page is unchanged, no other page is read."""
        self.book(responses, p1=f"{API}/p2", p2="")
        one = client()
        list(one.pages("p1", {}, 10, kind=list))
        assert list(one.validators["urls"]) == [f"{API}/p1"]
        self.read(known=one.validators)
        conditions = ["If-None-Match" in call.request.headers for call in responses.calls]
        assert conditions == [False, False, True, False]
        responses.replace("GET", f"{API}/p1", status=304)
        with pytest.raises(NotModified):
            self.read(known=one.validators)
        assert len(responses.calls) == 5


def test_an_answer_names_the_last_page(responses: RequestsMock) -> None:
    """An answer has the address of the last page."""
    responses.get(URL, json={}, headers={"Link": f'<{URL}?page=2>; rel="next", <{URL}?page=40>; rel="last"'})
    answer = ask()
    assert (answer.next, answer.last) == (f"{URL}?page=2", f"{URL}?page=40")


@pytest.mark.parametrize(
    "link", ["", ";", "<>; rel=next", "x", '<https://pypi.test/a>; rel="prev"', "<a>; rel", '; rel="next"']
)
def test_a_link_that_makes_no_sense_is_no_link(responses: RequestsMock, link: str) -> None:
    """An unreadable Link header counts as no next page."""
    responses.get(URL, json={}, headers={"Link": link})
    assert ask().next == ""
