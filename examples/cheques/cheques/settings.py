"""Settings of the application, each from an environment variable that begins with CHEQUES_."""

from __future__ import annotations

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict


class Settings(BaseSettings):
    """What an operator may choose. The operating point is `threshold`: see `python -m cheques operating-point`."""

    model_config = SettingsConfigDict(env_prefix="CHEQUES_", extra="ignore", frozen=True)

    database_url: str = Field("sqlite:///cheques.db", description="SQLAlchemy address; SQLite or PostgreSQL (psycopg)")
    platform_url: str = Field("http://127.0.0.1:8000", description="the platform's API, serving the pipeline strings")
    platform_key: str | None = Field(None, description="an API key of the platform with predict and feedback")
    threshold: float = Field(0.9, ge=0, le=1, description="confidence of the whole amount from which no person looks")
    largest_unseen: int = Field(1_000_000, ge=0, description="the largest amount that is accepted without a person")
    largest_lawful: int = Field(100_000_000, ge=1, description="the largest amount that a cheque may be of at all")
    sample_share: float = Field(
        0.05, ge=0, le=1, description="share of cheques, of any outcome, that a person reads unled"
    )
    max_upload_bytes: int = Field(12_000_000, ge=1_000, description="the largest file that is taken")
    max_pixels: int = Field(50_000_000, ge=10_000, description="the largest picture that is decoded")
    concurrent_readings: int = Field(2, ge=1, description="pictures that are decoded and searched at once")
    allowed_hosts: tuple[str, ...] = Field(("127.0.0.1", "localhost"), description="names the pages answer to")
    host: str = Field("127.0.0.1", description="where the pages listen")
    port: int = Field(8100, ge=1, le=65_535)
