"""Settings: every value a person may set through PLATFORM_* or .env."""

import json
import re
from pathlib import Path
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import BeforeValidator, Field, ValidationError, field_validator, model_validator
from pydantic_settings import NoDecode, SettingsConfigDict

from mlplatform.access_settings import AccessSettings, lower_case
from mlplatform.errors import SettingsError
from mlplatform.network.egress import egress_policy

MIN_TRAINING_MEMORY_MB = 512
SIGN_IN_PATHS = frozenset(("account", "sign-in", "sign-in-with-key", "sign-out"))
PAGE_PATHS = SIGN_IN_PATHS | {"alerts", "audit", "keys", "models", "retrainings", "review", "rules", "versions"}
RESERVED_PATHS = PAGE_PATHS | {"docs", "redoc", "static-offline-docs", "v1", "v2"}


def _from_json(value: object) -> object:
    try:
        return json.loads(value) if isinstance(value, str) else value
    except ValueError:
        raise ValueError('give a JSON list, e.g. ["mlflow", "mlflow:5000"]') from None


def _validate_path_prefix(value: object) -> object:
    if not isinstance(value, str) or not value.strip("/"):
        return "" if isinstance(value, str) else value
    if not re.fullmatch(r"(/[\w.~-]+)+", path := "/" + value.strip("/"), flags=re.ASCII):
        raise ValueError("give a path such as /ml or /tools/ml")
    if path.split("/")[1] in RESERVED_PATHS:
        raise ValueError(f"the API has paths of its own below {path}; give another, such as /ml{path}")
    return path


class Settings(AccessSettings):
    """Values from the environment (`PLATFORM_*`), then `.env`, then the defaults here; an empty one is not set."""

    model_config = SettingsConfigDict(
        env_prefix="PLATFORM_",
        env_file=".env",
        env_ignore_empty=True,
        extra="ignore",
        frozen=True,
        allow_inf_nan=False,
    )

    home: Path = Field(Path("var"), description="Folder for everything kept on disk by default.")
    database_url: str = Field(
        "", description="URL of the store, PostgreSQL or SQLite; empty means SQLite in the home folder."
    )
    statement_seconds: float = Field(
        15.0, gt=0, le=86400, description="How long one statement may take in PostgreSQL before it is cancelled."
    )
    long_statement_seconds: float = Field(
        600.0, gt=0, le=86400, description="The same for migrations, trainings, retention, backtests and verification."
    )
    lock_seconds: float = Field(
        5.0,
        gt=0,
        le=86400,
        description="How long a request waits for a lock in the database; work behind it thrice as long.",
    )
    mlflow_uri: str = Field("", description="MLflow tracking and registry URI; empty means SQLite in the home folder.")
    alerts_file: Path = Field(Path("alerts.yaml"), description="Rules, schedule and channels.")
    pipeline: str = Field("digits", description="Pipeline that trains: a name, package.module:NAME, or file.py:NAME.")
    model: str = Field(
        "",
        pattern=r"^([A-Za-z0-9][A-Za-z0-9_-]*)?$",
        description="Model served, watched and retrained; empty means PLATFORM_PIPELINE where that is a plain name.",
    )
    recipe: str = Field("", description="Training recipe; empty means the family's default.")
    data_dir: Path | None = Field(None, description="Folder with the family's data; unset means the bundled data.")
    port: int = Field(8000, ge=0, le=65535, description="Port of the API server.")
    mlflow_port: int = Field(5000, ge=0, le=65535, description="Port of the MLflow server of `platform up`.")
    mlflow_host: str = Field("127.0.0.1", description="Address `platform mlflow` binds to.")
    mlflow_backend_uri: str = Field(
        "", description="Database of `platform mlflow`; empty means SQLite in the home folder."
    )
    mlflow_artifacts: str = Field(
        "",
        description="Where `platform mlflow` keeps files it receives from clients; empty means clients share its disk.",
    )
    mlflow_allowed_hosts: Annotated[tuple[str, ...], NoDecode, BeforeValidator(_from_json)] = Field(
        (), description="Host names (JSON list) clients use for MLflow besides localhost."
    )
    mlflow_patience_seconds: float = Field(
        300.0, ge=0, description="How long a training waits for an MLflow that is away before it fails."
    )
    mlflow_auth: Annotated[Literal["off", "basic"], BeforeValidator(lower_case)] = Field(
        "off", description="Whether `platform mlflow` asks for passwords: off, or basic (MLflow's own plugin)."
    )
    mlflow_public_url: str = Field("", description="Address of the MLflow UI as people reach it, for links.")
    review_consensus: int = Field(1, ge=1, le=9, description="Reviewers who must agree before their label counts.")
    seed: int = Field(0, ge=0, description="Seed of trainings.")
    gate_margin_points: float = Field(
        2.0, gt=0, lt=100, description="Golden accuracy a candidate must surely not lose, in points."
    )
    poll_seconds: float = Field(2.0, gt=0, description="How often the API server asks for a new champion.")
    engine: Annotated[Literal["auto", "onnx", "torch"], BeforeValidator(lower_case)] = Field(
        "auto", description="What computes answers: onnx or torch; auto is ONNX Runtime where the version has a graph."
    )
    device: Annotated[Literal["auto", "cpu", "cuda"], BeforeValidator(lower_case)] = Field(
        "auto", description="Where PyTorch computes answers: cpu or cuda; auto takes the GPU where there is one."
    )
    serve_threads: int = Field(1, ge=1, description="Intra-op threads of one inference.")
    batch_max: int = Field(32, ge=1, description="Most images of different requests that are computed together.")
    batch_wait_ms: float = Field(0.0, ge=0, le=1000, description="Wait for more requests before a batch, in ms.")
    batch_lanes: int = Field(1, ge=1, le=64, description="Batches computed at the same time.")
    cache_answers: int = Field(
        4096, ge=0, description="Answers kept in memory for pictures that are sent again; 0 keeps none."
    )
    redis_url: str = Field("", description="Redis through which servers share such answers; empty means they do not.")
    baseline_calls: int = Field(200, ge=20, description="Calls that measure the latency baseline of a champion.")
    max_body_mb: float = Field(8.0, gt=0, description="Largest request body, in MiB.")
    max_images: int = Field(256, ge=1, description="Most images in one request.")
    max_megapixels: float = Field(4.0, gt=0, description="Largest picture, in megapixels, before decoding.")
    max_request_megapixels: float = Field(
        64.0, gt=0, description="Most megapixels the pictures of one request may have together, before decoding."
    )
    polarity: Annotated[Literal["auto", "light-on-dark", "dark-on-light"], BeforeValidator(lower_case)] = Field(
        "auto",
        description="How PNG and JPEG are drawn: light-on-dark, dark-on-light, or auto, which looks at the border.",
    )
    recording: Literal["async", "sync"] = Field(
        "async",
        description="An answer is sent once its row is in the spool on disk (`async`) or committed (`sync`).",
    )
    sync_seconds: float = Field(
        10.0, gt=0, description="How long an answer waits for its commit under `sync` before it is refused."
    )
    spool_mb: float = Field(
        1024.0, ge=0.0625, description="Disk for predictions that wait for the database, in MiB, per server."
    )
    spool_full: Literal["refuse", "drop-oldest"] = Field(
        "refuse",
        description="When spool or disk is full: `refuse` answers 503, `drop-oldest` forgets the oldest rows.",
    )
    spool_fsync: bool = Field(
        False, description="Wait for the disk itself: rows then outlive a loss of power, not only a killed server."
    )
    recorder: Annotated[Literal["process", "thread"], BeforeValidator(lower_case)] = Field(
        "process",
        description="What writes rows to the database: a process of its own, or a thread (slower, 90 MiB less).",
    )
    recorder_batch: int = Field(500, ge=1, description="Predictions written in one transaction, at most.")
    recorder_flush_ms: float = Field(200.0, ge=0, description="Wait that lets a batch fill, in milliseconds.")
    retain_answers_days: int = Field(
        0, ge=0, description="Days after which answers nobody labelled go, with their pictures; 0 keeps them."
    )
    retain_personal_days: int = Field(
        0, ge=0, description="Days after which ids of clients, requests and subjects, and tags go; 0 keeps them."
    )
    retain_column_counts_days: int = Field(0, ge=0, description="Days to keep hourly counts of columns; 0 keeps all.")
    lease_seconds: float = Field(15.0, gt=0, description="Life of a leader's lease without renewal.")
    heartbeat_seconds: float = Field(2.0, gt=0, description="Interval of heartbeats.")
    abandoned_seconds: float = Field(
        30.0, gt=0, description="Age of a heartbeat after which a retraining counts as abandoned."
    )
    training_memory_mb: int = Field(
        0, ge=0, description="Memory a queued retraining's process may have, in MiB; 0 sets no limit."
    )
    training_device: str = Field(
        "cpu", min_length=1, description="Where trainings compute, in PyTorch's words: cpu, cuda, cuda:1 or mps."
    )
    delivery_attempts: int = Field(8, ge=1, description="Tries a notice has at least, before it may be given up.")
    delivery_hours_critical: float = Field(
        168.0, ge=0, le=87600, description="Hours for which a critical notice is tried before it may be given up."
    )
    delivery_hours_warning: float = Field(24.0, ge=0, le=87600, description="The same for notices of severity warning.")
    delivery_hours_info: float = Field(6.0, ge=0, le=87600, description="The same for notices of severity info.")
    delivery_timeout_seconds: float = Field(
        10.0, gt=0, description="Limit of one delivery as a whole, from the lookup of the name to the answer's end."
    )
    delivery_proxy: str = Field(
        "", description="HTTP proxy for notices; empty sends them directly, whatever HTTPS_PROXY says."
    )
    allowed_receivers: Annotated[tuple[str, ...], NoDecode, BeforeValidator(_from_json)] = Field(
        (), description="Networks and host names (JSON list) notices may go to besides public addresses."
    )
    reports_kept: int = Field(
        40, ge=1, description="Evidently reports kept on disk, newest first, besides those of alerts."
    )
    audit_key_file: Path | None = Field(
        None, description="File with a key of 16 bytes or more that signs the audit log's anchors; unset signs none."
    )
    audit_anchors: Path | None = Field(
        None,
        description="File where the watcher writes down the audit log's heads; unset means one in the home.",
    )
    allowed_hosts: Annotated[tuple[str, ...], NoDecode, BeforeValidator(_from_json)] = Field(
        (), description="Host names (JSON list) the API answers to; empty means any, or local ones where keys are off."
    )
    cors_origins: Annotated[tuple[str, ...], NoDecode, BeforeValidator(_from_json)] = Field(
        (), description="Origins (JSON list) whose pages may call the API from a browser; empty means none."
    )
    rate_limit: float = Field(
        0, ge=0, description="Requests a second one key (without keys: one address) may make; 0 sets no limit."
    )
    rate_burst: int = Field(0, ge=0, description="Requests at once within the rate limit; 0 means twice its number.")
    root_path: Annotated[str, BeforeValidator(_validate_path_prefix)] = Field(
        "", description="Path prefix under which a proxy shows the API server, such as /ml; it may cut it off or not."
    )
    max_connections: int = Field(
        1000, ge=16, description="Connections at once; of more, those idle the longest are closed."
    )
    max_connections_per_address: int = Field(
        0, ge=0, description="Connections at once from one address; 0 sets no limit, as behind a proxy."
    )
    header_kb: float = Field(32.0, ge=1, description="Largest headers of a request, its line included, in KiB.")
    header_count: int = Field(100, ge=10, description="Most headers of a request.")
    header_seconds: float = Field(10.0, gt=0, description="How long the headers of a request may take.")
    body_seconds: float = Field(
        10.0, gt=0, description="Time over which a request's body must keep up the least rate, from its beginning on."
    )
    least_rate_kb: float = Field(
        4.0, gt=0, description="KiB a second that a client must send of a body, and take of an answer."
    )
    answer_seconds: float = Field(20.0, gt=0, description="Time over which an answer must be taken at the least rate.")
    idle_seconds: float = Field(
        75.0, gt=0, description="How long a connection is kept without a request; longer than proxies in front do."
    )
    underway_mb: float = Field(
        32.0, gt=0, description="Bodies of over 64 KiB under way together, and answers that wait for clients, in MiB."
    )
    drain_seconds: float = Field(
        2.0, ge=0, description="From SIGTERM on, how long a server says that it stops and still takes requests."
    )
    stop_seconds: float = Field(
        9.0, gt=0, description="From SIGTERM on, when a server has ended whatever happens; what waits stays on disk."
    )
    umask: str = Field(
        "0077", description="Rights (octal) that files of the platform give nobody; 0007 shares them with the group."
    )
    log_level: Annotated[Literal["debug", "info", "warning", "error"], BeforeValidator(lower_case)] = Field(
        "info", description="Log level: debug, info, warning or error."
    )

    @field_validator("allowed_receivers")
    @classmethod
    def _validate_receivers(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        egress_policy(value)
        return value

    @field_validator("delivery_proxy")
    @classmethod
    def _validate_proxy(cls, value: str) -> str:
        parts = urlsplit(value)
        if value and not (parts.scheme in ("http", "https") and parts.hostname):
            raise ValueError("is not the address of an HTTP proxy; write http://host:port")
        return value

    @field_validator("umask")
    @classmethod
    def _validate_umask(cls, value: str) -> str:
        if not value.isdecimal() or set(value) - set("01234567") or int(value, 8) > 0o777 or int(value, 8) & 0o700:
            raise ValueError("give an octal number that leaves the owner all rights: 0077, or 0007 for a shared group")
        return value

    @field_validator("training_memory_mb")
    @classmethod
    def _validate_training_memory(cls, value: int) -> int:
        if 0 < value < MIN_TRAINING_MEMORY_MB:
            raise ValueError(f"the libraries alone need {MIN_TRAINING_MEMORY_MB} MiB; give more, or 0 for no limit")
        return value

    @model_validator(mode="after")
    def _validate_combinations(self) -> Self:
        if not self.model and ":" in self.pipeline:
            raise ValueError(
                f"PLATFORM_PIPELINE={self.pipeline} does not say which model it makes, and servers do not import it; "
                "set PLATFORM_MODEL to the pipeline's name"
            )
        if self.abandoned_seconds < 3 * self.heartbeat_seconds:
            raise ValueError(
                f"abandoned_seconds {self.abandoned_seconds:g} must be at least three times heartbeat_seconds "
                f"{self.heartbeat_seconds:g}, or living retrainings are taken for dead"
            )
        if self.stop_seconds < self.drain_seconds + 1:
            raise ValueError(
                f"stop_seconds {self.stop_seconds:g} must be at least a second more than drain_seconds "
                f"{self.drain_seconds:g}, which it includes"
            )
        if self.recording == "sync" and self.spool_full == "drop-oldest":
            raise ValueError(
                "recording=sync promises that an answer is committed and spool_full=drop-oldest forgets answers; "
                "choose spool_full=refuse or recording=async"
            )
        return self

    @property
    def model_name(self) -> str:
        """The name of the model that is served, watched and retrained; no pipeline is imported to know it."""
        return self.model or self.pipeline

    @property
    def umask_bits(self) -> int:
        """The umask as a number."""
        return int(self.umask, 8)

    @property
    def store_url(self) -> str:
        """The store's URL, the embedded default filled in."""
        return self.database_url or f"sqlite:///{self.home.resolve() / 'platform.db'}"

    @property
    def spool_folder(self) -> Path:
        """Where predictions wait for the database."""
        return self.home.resolve() / "spool"

    @property
    def tracking_uri(self) -> str:
        """MLflow's URI, the embedded default filled in."""
        return self.mlflow_uri or f"sqlite:///{self.home.resolve() / 'mlflow.db'}"

    @property
    def artifact_root(self) -> str | None:
        """Folder URI for MLflow artifacts: set for the embedded default, else the server's own choice."""
        return None if self.mlflow_uri else (self.home.resolve() / "artifacts").as_uri()


def load_settings(**overrides: object) -> Settings:
    """Read the settings; raises SettingsError naming variable, value and what is allowed."""
    try:
        return Settings(**{key: value for key, value in overrides.items() if value is not None})  # type: ignore[arg-type]
    except ValidationError as error:
        lines = [
            f"PLATFORM_{'_'.join(str(part) for part in item['loc']).upper()}={item['input']!r}: {item['msg']}"
            if item["loc"]
            else item["msg"]
            for item in error.errors()
        ]
        raise SettingsError("; ".join(lines) + ". `platform init` writes a commented .env.example.") from error
