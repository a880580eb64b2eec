"""Errors of a command that its user can mend, told in a sentence that says how."""

from __future__ import annotations

from django.core.exceptions import ImproperlyConfigured
from django.db import DatabaseError, InterfaceError, connection
from django.db.migrations.executor import MigrationExecutor
from environs import EnvError


def sentence(error: Exception) -> str | None:
    """Say what is wrong and what to do about it; None: nobody knows, and a traceback is due."""
    if isinstance(error, ImproperlyConfigured | EnvError):
        return str(error)
    if isinstance(error, DatabaseError | InterfaceError):
        return _of_the_database()
    return None


def _of_the_database() -> str | None:
    try:
        connection.ensure_connection()
        executor = MigrationExecutor(connection)
        is_migrated = not executor.migration_plan(executor.loader.graph.leaf_nodes())
    except (DatabaseError, InterfaceError) as exc:
        said = str(exc).partition("\n")[0]
        return f"The database does not answer: {said}. Start its server, or correct DATABASE_URL"
    return None if is_migrated else "The database lacks tables or columns of this version. Run `manage.py migrate`"
