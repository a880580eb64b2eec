"""The data that the service returns. The aliases are the names that the providers use for the fields."""

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
"""The problem of a part if the provider has no such resource. (This problem is not a failure, unlike all others.)"""

_Value = TypeVar("_Value")
OrNone = Annotated[_Value | None, WrapValidator(_none_if_wrong)]
"""A field that is None if the provider sends no value or an invalid value. The other fields are not affected."""


class Repository(BaseModel):
    """The data of GitHub."""

    stars: OrNone[int] = Field(None, validation_alias="stargazers_count")
    open_issues: OrNone[int] = Field(None, validation_alias="open_issues_count")
    pushed_at: OrNone[datetime] = None
    archived: OrNone[bool] = None


class Release(BaseModel):
    """The data of Libraries.io."""

    latest: OrNone[str] = Field(None, validation_alias="latest_release_number")
    licenses: OrNone[str] = None
    dependents: OrNone[int] = Field(None, validation_alias="dependents_count")


Data = TypeVar("Data", bound=BaseModel)


class Part(BaseModel, Generic[Data]):
    """The data of one provider, from this request or from its last successful response."""

    data: Data | None = None
    """None: the provider has never sent data."""
    fetched_at: datetime | None = None
    """When `data` was fetched."""
    problem: str | None = None
    """Why the provider sent no data now; None: `data` is fresh."""
    retry_at: datetime | None = None
    """If nothing is sent to the provider at present: when it will be called again."""


class Package(BaseModel):
    name: str
    github: Part[Repository]
    libraries_io: Part[Release]
