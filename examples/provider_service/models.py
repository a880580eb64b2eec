"""What the service answers. The aliases are the names that the providers have for the fields."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Generic, TypeVar

from pydantic import BaseModel, Field, ValidationError, ValidatorFunctionWrapHandler, WrapValidator


def _none_if_wrong(value: Any, validate: ValidatorFunctionWrapHandler) -> Any:
    try:
        return validate(value)
    except ValidationError:
        return None


NOT_FOUND = "not found"
"""The problem of a part that the provider has not: the one that is an answer."""

_Value = TypeVar("_Value")
OrNone = Annotated[_Value | None, WrapValidator(_none_if_wrong)]
"""A field that is None where the provider sends nothing, or nonsense: the other fields are kept."""


class Repository(BaseModel):
    """What GitHub says."""

    stars: OrNone[int] = Field(None, validation_alias="stargazers_count")
    open_issues: OrNone[int] = Field(None, validation_alias="open_issues_count")
    pushed_at: OrNone[datetime] = None
    archived: OrNone[bool] = None


class Release(BaseModel):
    """What Libraries.io says."""

    latest: OrNone[str] = Field(None, validation_alias="latest_release_number")
    licenses: OrNone[str] = None
    dependents: OrNone[int] = Field(None, validation_alias="dependents_count")


Data = TypeVar("Data", bound=BaseModel)


class Part(BaseModel, Generic[Data]):
    """What one provider says, now or when it last answered."""

    data: Data | None = None
    """None: it has never answered."""
    fetched_at: datetime | None = None
    problem: str | None = None
    """Why it did not answer now; None: `data` is fresh."""
    retry_at: datetime | None = None
    """When it will be asked again, where nothing is sent to it until then."""


class Package(BaseModel):
    name: str
    github: Part[Repository]
    libraries_io: Part[Release]
