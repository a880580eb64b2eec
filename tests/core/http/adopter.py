"""Programs that use the library as a project does that copied or installed it, each for a new process.

`LIBRARY` in the environment is the import name; `URL` and `NETLOC` are of a server that answers 503, then 200 "fine".
"""

from __future__ import annotations

SCRIPT = """
    import os
    from importlib import import_module
    from prometheus_client import generate_latest

    library = import_module(os.environ["LIBRARY"])
    with library.ResilientSession(library.Policy(backoff=0)) as session:
        assert session.get(os.environ["URL"]).text == "fine"
    series = 'outbound_http_calls_total{outcome="success",reason="",upstream="other"} 1.0'
    assert series in generate_latest().decode()
    """
"""A call and a scrape."""

DJANGO_SITE = """
    import logging, os
    from importlib import import_module
    from django.conf import settings
    library = os.environ["LIBRARY"]
    settings.configure(
        INSTALLED_APPS=[f"{library}.django"],
        OUTBOUND_HTTP={"upstreams": {"example": {"hosts": [os.environ["NETLOC"]], "retries": -1}}},
        DEBUG=True,
        ROOT_URLCONF="site_urls",
        ALLOWED_HOSTS=["testserver"],
    )
    import django
    records = []
    logger = logging.getLogger("core.http")
    logger.propagate = False
    logger.setLevel("INFO")
    logger.addHandler(type("Kept", (logging.Handler,), {"emit": lambda _, record: records.append(record)})())
    django.setup()
    import sys, types
    from django.apps import apps
    from django.urls import include, path
    site = sys.modules["site_urls"] = types.ModuleType("site_urls")
    site.urlpatterns = [path("", include(f"{library}.django.urls"))]
    from django.core.checks import run_checks
    from django.core.management import call_command
    from django.test import Client, override_settings
    from django.urls import reverse
    outbound = import_module(library)

    assert apps.get_app_config("outbound_http").name == f"{library}.django"
    assert [check.id for check in run_checks()] == ["core.http.E002"]
    assert records.pop().levelname == "ERROR"
    good = {"upstreams": {"example": {"hosts": [os.environ["NETLOC"]], "backoff": 0}}}
    with override_settings(OUTBOUND_HTTP=good):
        assert run_checks() == []
        session = outbound.ResilientSession()
        assert session.get(os.environ["URL"]).text == "fine"
        assert records.pop().levelname == "INFO"
        scrape = Client().get(reverse("outbound_http:metrics")).text
        call_command("upstreams")
    assert 'outbound_http_calls_total{outcome="success",reason="",upstream="example"} 1.0' in scrape
    assert not [name for name in sys.modules if name.split(".")[0] == "core"]
    """
"""A system check that finds a mistake, a call, a scrape, and `manage.py upstreams`."""
