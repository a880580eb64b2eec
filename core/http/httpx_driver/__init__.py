"""The common driver for httpx and httpx2. It imports neither of them.

The modules `core.http.httpx` and `core.http.httpx2` derive their public classes from the classes of this package and of
their library.
"""
