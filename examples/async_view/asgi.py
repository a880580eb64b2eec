"""The ASGI application. Run it with `uvicorn async_view.asgi:application`."""

from __future__ import annotations

import os

from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "async_view.settings")
application = get_asgi_application()
