"""The decisions of a call, without any I/O. Read `call` first.

The engine never blocks and receives its clock and its random numbers as arguments, so threads, asyncio and tests with a
fake clock all use the same code.
"""
