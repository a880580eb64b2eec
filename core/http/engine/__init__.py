"""The decisions of a call, without any I/O. `call` is the place to begin reading.

The engine blocks nowhere and takes its clock and its random numbers as arguments, so threads, asyncio and tests with a
fake clock all drive the same code.
"""
