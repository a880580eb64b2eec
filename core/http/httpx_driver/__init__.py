"""The driver for httpx and httpx2, which know each other as little as this package knows which of them it drives.

`core.http.httpx` and `core.http.httpx2` bind it: they derive the public classes from those here and from those of their
library.
"""
