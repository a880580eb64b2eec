"""The test suites of requests, responses, vcrpy and httpx, run with `ResilientSession` and `ResilientClient`.

``make conformance`` (or, in its environment, ``python -m tests.conformance``) fetches the source distributions of
requests, responses, vcrpy and httpx, in the versions that requirements/ names and with the hashes that it names, into
``.conformance/``, and runs the suite of each (of vcrpy what uses requests) three times. (That of httpx2 has no tests.)

plain
    unchanged;
retries=0
    with `ResilientSession` in the place of `requests.Session`, or `ResilientClient` and `AsyncResilientClient` in the
    place of httpx's clients, and a policy that never tries again. No test may end otherwise than in the plain run;
default
    the same with the default policy, which has three retries, on a clock on which waiting takes no time. Only the tests
    listed in `known.py` may end otherwise: those that count attempts or whose server answers a single connection.

Every other difference is named, and makes the exit status 1. It is 2 where the comparison could not be made.
What the tests printed is in ``.conformance/SUITE-MODE.log``.

The plain run sees the same circumstances as the others, made by a plugin:

- no host but this machine is reached: other names do not exist, and connections to other addresses time out;
- httpbin answers several requests at a time. It would serve one after the other, and a test that gives up on
  ``/delay/10`` would leave the next ones waiting for longer than an attempt of ours may take. Nor does it close a
  connection on which the client is sending still, which now and then fails a test in any mode.

In the others, state of core.http is fresh for each test. httpx's tests have a server on port 8000, which must be free.
"""
