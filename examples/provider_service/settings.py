"""The settings from environment variables: the addresses of the providers, and the credentials for them."""

from __future__ import annotations

import os
from typing import Self

from pydantic import BaseModel, Field, SecretStr


class Settings(BaseModel):
    """The settings. Each field is read from an environment variable."""

    github_url: str = Field("https://api.github.com", validation_alias="GITHUB_API_URL")
    github_token: SecretStr | None = Field(None, validation_alias="GITHUB_TOKEN")
    libraries_io_url: str = Field("https://libraries.io/api", validation_alias="LIBRARIES_IO_URL")
    libraries_io_key: SecretStr | None = Field(None, validation_alias="LIBRARIES_IO_KEY")
    open_for: float = Field(15, validation_alias="OPEN_FOR")
    """Seconds for which nothing is sent to a provider that is down."""

    @classmethod
    def from_environment(cls) -> Self:
        """Return the settings. Raises `pydantic.ValidationError` if a variable is invalid."""
        return cls.model_validate(dict(os.environ))
