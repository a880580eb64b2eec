"""The Django project."""

from config.celery import app as celery_app  # shared tasks bind to this app in every process

__all__ = ["celery_app"]
