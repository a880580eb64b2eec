"""The common driver for httpx and httpx2. It imports neither of them.

`core.http.httpx` and `core.http.httpx2` bind it to their library: they derive the public classes from the classes of
this package and of the library.
"""
