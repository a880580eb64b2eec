"""The logger of the library, "core.http", whatever the name of the folder."""

from __future__ import annotations

import logging


class _Logger(logging.Logger):
    """A logger that `logging.config.dictConfig` does not disable.

    With ``disable_existing_loggers``, which Django's default configuration sets, dictConfig disables every existing
    logger that is not in its dictionary. Whether this logger exists by then depends on the order of imports, so the
    log could silently lose all failures. To silence this logger, set its level.
    """

    @property
    def disabled(self) -> bool:
        return False

    @disabled.setter
    def disabled(self, value: bool) -> None:
        """Ignore the value."""


logger = logging.getLogger("core.http")
logger.__dict__.pop("disabled", None)  # set if other code created or disabled the logger before this import
logger.__class__ = _Logger
