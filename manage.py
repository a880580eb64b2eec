#!/usr/bin/env python
"""Django's command-line utility for administrative tasks."""

import os
import sys


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
    from django.core.management import execute_from_command_line  # noqa: PLC0415 - Django reads the variable above

    try:
        execute_from_command_line(sys.argv)
    except Exception as exc:
        from config.command_errors import sentence  # noqa: PLC0415 - as above

        said = sentence(exc)
        if said is None or "--traceback" in sys.argv:
            raise
        sys.exit(said)


if __name__ == "__main__":
    main()
