"""Calls to local servers that misbehave, each in one way."""
