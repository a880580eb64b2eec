"""Returns a sentence that says how to fix an error, for errors that the user of a command can fix."""

from __future__ import annotations

from django.core.exceptions import ImproperlyConfigured
from django.db import DatabaseError, InterfaceError, connection
from django.db.migrations.executor import MigrationExecutor
from environs import EnvError


def sentence(error: Exception) -> str | None:
    """Return a sentence that says what is wrong and how to fix it; None: unknown, so the traceback should be shown."""
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
        return f"Cannot connect to the database: {said}. Start the database server, or correct DATABASE_URL"
    return None if is_migrated else "The database lacks tables or columns. Run `manage.py migrate`"
