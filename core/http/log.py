"""The logger of the library: "core.http", whatever the folder is called."""

from __future__ import annotations

import logging


class _Logger(logging.Logger):
    """A logger that `logging.config.dictConfig` does not disable.

    With ``disable_existing_loggers``, which Django sets unless a site says otherwise, dictConfig disables every logger
    that exists and is not named: whether this one does depends on what was imported first, and nobody would notice that
    failures are no longer logged. To silence it, set its level.
    """

    @property
    def disabled(self) -> bool:
        return False

    @disabled.setter
    def disabled(self, value: bool) -> None:
        """Ignore it."""


logger = logging.getLogger("core.http")
logger.__dict__.pop("disabled", None)  # of somebody who got it, or disabled it, before
logger.__class__ = _Logger
