"""What the environment says: where the providers are, and with which credentials to ask them."""

from __future__ import annotations

import os
from typing import Self

from pydantic import BaseModel, Field, SecretStr


class Settings(BaseModel):
    """Each field is a variable of the environment."""

    github_url: str = Field("https://api.github.com", validation_alias="GITHUB_API_URL")
    github_token: SecretStr | None = Field(None, validation_alias="GITHUB_TOKEN")
    libraries_io_url: str = Field("https://libraries.io/api", validation_alias="LIBRARIES_IO_URL")
    libraries_io_key: SecretStr | None = Field(None, validation_alias="LIBRARIES_IO_KEY")
    open_for: float = Field(15, validation_alias="OPEN_FOR")
    """Seconds for which nothing is sent to a provider that is down, before it is tried again."""

    @classmethod
    def from_environment(cls) -> Self:
        """Raise `pydantic.ValidationError` where a variable is wrong: then the service does not start."""
        return cls.model_validate(dict(os.environ))
