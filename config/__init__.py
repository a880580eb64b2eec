"""The Django project."""

from config.celery import app as celery_app  # tasks belong to this one, whoever sends them
from core.http import multiprocess

__all__ = ["celery_app"]

multiprocess.take_part()  # here, because no metric may be made before
