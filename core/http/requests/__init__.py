"""The names of requests, with resilient functions and sessions.

Use it by writing ``from core.http import requests`` in place of ``import requests``.

`get`, `options`, `head`, `post`, `put`, `patch`, `delete` and `request` are the functions of `core.http`. `Session` is
`ResilientSession`, and `session()` returns a new one. All other names are those of requests: exceptions, `codes`,
`Response`, submodules, private names, and names that later releases add. So `requests.api.get` and
`requests.sessions.Session` are not resilient. Import the contents of submodules from requests itself: ``from
requests.exceptions import Timeout``.

Mocks keep working, both ``mock.patch("your.module.requests.get")`` and ``mock.patch("requests.get")``. If other code
replaces a function or class of requests, this module returns the replacement, and no code of core.http runs. Mocks and
the `Session` that requests-cache installs are such replacements. A wrapper with the attribute `__wrapped__`, such as
those that tracing agents install, does not count as a replacement.

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
