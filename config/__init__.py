"""The Django project."""

from config.celery import app as celery_app  # tasks belong to this one, whoever sends them

__all__ = ["celery_app"]
