"""What all request and response models share: frozen, no unknown fields, texts and times that the database can hold."""

from datetime import datetime

from pydantic import BaseModel, ConfigDict

NO_NUL_PATTERN = r"^[^\x00]*$"  # PostgreSQL's texts cannot hold the character


EARLIEST_YEAR = 1970


def _check_earliest_year(at: datetime) -> datetime:
    if at.year < EARLIEST_YEAR:
        raise ValueError(f"times before {EARLIEST_YEAR} are not taken")
    return at


class ApiModel(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ModelName(ApiModel):
    """Which model made an answer."""

    name: str
    version: int
