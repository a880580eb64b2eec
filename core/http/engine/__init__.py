"""Decides what a call does next: send, wait, retry or fail. Read `call` first.

The engine does no I/O, never blocks, and receives its clock and its random numbers as arguments. So threads, asyncio
and tests with a fake clock all use the same code.
"""
