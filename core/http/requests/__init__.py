"""requests' own names, with the resilient ones in place: ``from core.http import requests`` for ``import requests``.

`get`, `options`, `head`, `post`, `put`, `patch`, `delete` and `request` are those of `core.http`. `Session` is
`ResilientSession`, and `session()` returns one. Every other name is requests' own, also one that is private or that a
later release of requests adds: exceptions, `codes`, `Response`, submodules. So `requests.api.get` and
`requests.sessions.Session` are not resilient. Import what is in a submodule from requests itself: ``from
requests.exceptions import Timeout``.

Mocks go on working: ``mock.patch("your.module.requests.get")`` as well as ``mock.patch("requests.get")``. A function or
class that replaces one of requests is used in place of ours, and then nothing of core.http runs; so is the `Session` of
requests-cache. A wrapper that names what it wraps (`__wrapped__`), as agents for tracing install, is no replacement.

`core.http.requests.web` has the same names, with a policy for code that runs inside a web request.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..session import ResilientSession
from .facade import Facade

if TYPE_CHECKING:
    from requests import (
        ConnectionError as ConnectionError,
    )
    from requests import (
        ConnectTimeout as ConnectTimeout,
    )
    from requests import (
        HTTPError as HTTPError,
    )
    from requests import (
        JSONDecodeError as JSONDecodeError,
    )
    from requests import (
        PreparedRequest as PreparedRequest,
    )
    from requests import (
        ReadTimeout as ReadTimeout,
    )
    from requests import (
        Request as Request,
    )
    from requests import (
        RequestException as RequestException,
    )
    from requests import (
        Response as Response,
    )
    from requests import (
        Timeout as Timeout,
    )
    from requests import (
        TooManyRedirects as TooManyRedirects,
    )
    from requests import (
        URLRequired as URLRequired,
    )
    from requests import (
        adapters as adapters,
    )
    from requests import (
        api as api,
    )
    from requests import (
        auth as auth,
    )
    from requests import (
        certs as certs,
    )
    from requests import (
        codes as codes,
    )
    from requests import (
        compat as compat,
    )
    from requests import (
        cookies as cookies,
    )
    from requests import (
        delete as delete,
    )
    from requests import (
        exceptions as exceptions,
    )
    from requests import (
        get as get,
    )
    from requests import (
        head as head,
    )
    from requests import (
        hooks as hooks,
    )
    from requests import (
        models as models,
    )
    from requests import (
        options as options,
    )
    from requests import (
        packages as packages,
    )
    from requests import (
        patch as patch,
    )
    from requests import (
        post as post,
    )
    from requests import (
        put as put,
    )
    from requests import (
        request as request,
    )
    from requests import (
        sessions as sessions,
    )
    from requests import (
        status_codes as status_codes,
    )
    from requests import (
        structures as structures,
    )
    from requests import (
        utils as utils,
    )
    from requests.__version__ import __version__ as __version__
    from requests.exceptions import FileModeWarning as FileModeWarning

    Session = ResilientSession

    def session() -> Session: ...
else:
    _facade = Facade(ResilientSession)
    __getattr__, __dir__ = _facade.get, _facade.names
