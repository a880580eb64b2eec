"""A Django project with one async view. README.md says how to run it."""
