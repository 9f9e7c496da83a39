"""What the control plane is told by its environment: the only module that reads it.

Every setting is one row of `SETTINGS`: its variable, what it may hold, its default and what it is for. A bad value
stops the start with its name, its value and what was expected. A secret may lie in a file named by `NAME_FILE`, so that
it shows in no process list. The defaults make `knowgate serve` work in a fresh checkout, with everything under ./var.
"""

import getpass
import ipaddress
import os
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum
from pathlib import Path

from knowgate.shown import shown_url
from services import setting_values
from services.durations import A_DURATION
from services.errors import SettingInvalid

PREFIX = "KNOWGATE_"


class Auth(StrEnum):
    """`on` asks every request for a token; `off` asks nobody, and binds to loopback only."""

    ON = "on"
    OFF = "off"


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """One variable of the environment."""

    name: str  # with its prefix
    default: str  # as one would write it; may name {data_dir}; empty = not set
    expected: str
    purpose: str
    parse: Callable[[str], object]
    secret: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The settings in force. Secrets do not show in its text, nor do addresses that may carry one."""

    data_dir: Path
    database_url: str = field(repr=False)
    shards_url: str = field(repr=False)
    shard_bytes: int
    shard_grace: timedelta
    vector_retention: timedelta | None  # None = for ever
    heads_url: str = field(repr=False)
    mlflow_url: str = field(repr=False)
    host: str
    port: int
    auth: Auth
    max_body_bytes: int
    assignment_lease: timedelta
    job_lease: timedelta
    job_limit: timedelta
    log_level: str
    hash_key: bytes | None = field(repr=False)
    signing_key: str | None = field(repr=False)  # lowercase hex
    webhook_secret: bytes | None = field(repr=False)
    judge_api_key: str | None = field(default=None, repr=False)
    token: str | None = field(default=None, repr=False)
    gateway_key: str | None = field(default=None, repr=False)
    operator: str | None = None
    webhook_networks: tuple[str, ...] = ()
    training_engine: str = "local"
    ray_address: str = "auto"
    ray_workers: int = 1
    ray_cpus_per_worker: float = 1.0
    ray_gpus_per_worker: float = 0.0


SETTINGS: tuple[Setting, ...] = (
    Setting(
        name="KNOWGATE_DATA_DIR",
        default="var",
        expected="a folder",
        purpose="Where all lies that has no address of its own: the embedded database, shards, MLflow's data, keys.",
        parse=Path,
    ),
    Setting(
        name="KNOWGATE_DATABASE_URL",
        default="sqlite:///{data_dir}/knowgate.db",
        expected="an SQLAlchemy URL: sqlite:///FILE or postgresql+psycopg://USER:PASSWORD@HOST/NAME",
        purpose="The database. It may carry a password, so it may also be given as a file.",
        parse=setting_values.url("sqlite:///", "postgresql+psycopg://"),
        secret=True,
    ),
    Setting(
        name="KNOWGATE_SHARDS_URL",
        default="{data_dir}/shards",
        expected="a folder or an fsspec URL such as s3://bucket/prefix",
        purpose="Where shipped hidden states are kept, in safetensors shards.",
        parse=setting_values.place,
    ),
    Setting(
        name="KNOWGATE_SHARD_BYTES",
        default="268435456",
        expected="a whole number from 65536 to 4294967296",
        purpose="No shard holds more bytes of vectors; compaction merges smaller ones up to it.",
        parse=setting_values.whole(1 << 16, 1 << 32),
    ),
    Setting(
        name="KNOWGATE_SHARD_GRACE",
        default="24h",
        expected=A_DURATION,
        purpose="How long a shard that nothing refers to stays, for those who still read it.",
        parse=setting_values.positive_duration,
    ),
    Setting(
        name="KNOWGATE_VECTOR_RETENTION",
        default="",
        expected="a duration from 1d to 3650d",
        purpose="Vectors of older decisions are forgotten, where the cascade says nothing else. Not set: never.",
        parse=setting_values.retention,
    ),
    Setting(
        name="KNOWGATE_HEADS_URL",
        default="{data_dir}/heads",
        expected="a folder or an fsspec URL such as s3://bucket/prefix",
        purpose="Where the ledger's signed heads are put at every seal. Best where the database's owner cannot write.",
        parse=setting_values.place,
    ),
    Setting(
        name="KNOWGATE_MLFLOW_URL",
        default="sqlite:///{data_dir}/mlflow.db",
        expected="a tracking URI: http(s)://…, sqlite:///FILE or postgresql+psycopg://…",
        purpose="MLflow's tracking store or server. It being down delays registration and nothing else.",
        parse=setting_values.url("sqlite:///", "postgresql+psycopg://", "http://", "https://"),
    ),
    Setting(
        name="KNOWGATE_HOST",
        default="127.0.0.1",
        expected="an address or a host name to bind to",
        purpose="Where the API listens. 0.0.0.0 listens everywhere.",
        parse=setting_values.text,
    ),
    Setting(
        name="KNOWGATE_PORT",
        default="8420",
        expected="a whole number from 1 to 65535",
        purpose="The API's port.",
        parse=setting_values.whole(1, 65535),
    ),
    Setting(
        name="KNOWGATE_AUTH",
        default="on",
        expected="on, or off where KNOWGATE_HOST is a loopback address",
        purpose="Whether requests must carry a token.",
        parse=Auth,
    ),
    Setting(
        name="KNOWGATE_MAX_BODY_BYTES",
        default="67108864",
        expected="a whole number from 1024 to 1073741824",
        purpose="A larger request body is refused with 413.",
        parse=setting_values.whole(1024, 1 << 30),
    ),
    Setting(
        name="KNOWGATE_ASSIGNMENT_LEASE",
        default="24h",
        expected=A_DURATION,
        purpose="How long a runtime may decide without word from the control plane; then it escalates everything.",
        parse=setting_values.positive_duration,
    ),
    Setting(
        name="KNOWGATE_JOB_LEASE",
        default="2m",
        expected=A_DURATION,
        purpose="How long a job may be silent before another scheduler takes its window over.",
        parse=setting_values.positive_duration,
    ),
    Setting(
        name="KNOWGATE_JOB_LIMIT",
        default="12h",
        expected=A_DURATION,
        purpose="How long a job may take; a training that hangs is ended then, and its window is tried again.",
        parse=setting_values.positive_duration,
    ),
    Setting(
        name="KNOWGATE_LOG_LEVEL",
        default="info",
        expected="debug, info, warning or error",
        purpose="What is written to standard error.",
        parse=setting_values.level,
    ),
    Setting(
        name="KNOWGATE_HASH_KEY",
        default="",
        expected="16 to 64 bytes of text",
        purpose="The key of the prompts' keyed hashes. Not set: one is made once and kept in {data_dir}/hash.key.",
        parse=setting_values.key,
        secret=True,
    ),
    Setting(
        name="KNOWGATE_SIGNING_KEY",
        default="",
        expected="an Ed25519 private key as 64 hex digits",
        purpose="Signs assignments and bundles. Not set: they are served unsigned.",
        parse=setting_values.private_key,
        secret=True,
    ),
    Setting(
        name="KNOWGATE_WEBHOOK_SECRET",
        default="",
        expected="at least 16 characters",
        purpose="Signs alert messages. Not set: they are sent unsigned.",
        parse=setting_values.secret,
        secret=True,
    ),
    Setting(
        name="KNOWGATE_WEBHOOK_NETWORKS",
        default="",
        expected="networks with commas between, such as 169.254.7.0/24",
        purpose="Where webhooks may lie all the same, of the addresses that are refused otherwise. Not set: nowhere.",
        parse=setting_values.networks,
    ),
    Setting(
        name="KNOWGATE_JUDGE_API_KEY",
        default="",
        expected="text without spaces",
        purpose="Sent as a bearer token to the endpoint that `knowgate labels grade` asks for verdicts.",
        parse=setting_values.bearer,
        secret=True,
    ),
    Setting(
        name="KNOWGATE_TOKEN",
        default="",
        expected="text without spaces",
        purpose="What `knowgate gateway` shows the control plane: a token of role runtime.",
        parse=setting_values.bearer,
        secret=True,
    ),
    Setting(
        name="KNOWGATE_GATEWAY_KEY",
        default="",
        expected="text without spaces",
        purpose="What callers of `knowgate gateway` show as their API key. Not set: it serves this machine alone.",
        parse=setting_values.bearer,
        secret=True,
    ),
    Setting(
        name="KNOWGATE_OPERATOR",
        default="",
        expected="a name",
        purpose="Who promotes, rolls back, stops and resumes by command. Not set: the user that runs it.",
        parse=setting_values.text,
    ),
    Setting(
        name="KNOWGATE_TRAINING_ENGINE",
        default="local",
        expected="local or ray",
        purpose="Who fits probes: the trainer's own process, or the workers of a Ray cluster.",
        parse=setting_values.engine,
    ),
    Setting(
        name="KNOWGATE_RAY_ADDRESS",
        default="auto",
        expected="host:port of the head node, auto or local",
        purpose="The Ray cluster.",
        parse=setting_values.text,
    ),
    Setting(
        name="KNOWGATE_RAY_WORKERS",
        default="1",
        expected="a whole number from 1 to 10000",
        purpose="How many processes of the cluster share a fit.",
        parse=setting_values.whole(1, 10_000),
    ),
    Setting(
        name="KNOWGATE_RAY_CPUS_PER_WORKER",
        default="1",
        expected="a number of at least 0",
        purpose="CPUs of the cluster that each of them takes, and its threads.",
        parse=setting_values.amount,
    ),
    Setting(
        name="KNOWGATE_RAY_GPUS_PER_WORKER",
        default="0",
        expected="a number of at least 0",
        purpose="GPUs of the cluster that each of them takes; 0: it computes on the CPU.",
        parse=setting_values.amount,
    ),
)


def read_settings(environ: Mapping[str, str] | None = None) -> Settings:
    """The settings in `environ` (by default the process's own).

    Raises SettingInvalid with the variable's name, its value and what was expected.
    """
    given = os.environ if environ is None else environ
    data_dir = _text_of(SETTINGS[0], given) or SETTINGS[0].default
    held = {_field(setting): _value_of(setting, given, data_dir) for setting in SETTINGS}
    held["webhook_networks"] = held["webhook_networks"] or ()
    settings = Settings(**held)  # type: ignore[arg-type]
    if settings.auth is Auth.OFF and not is_loopback(settings.host):
        raise SettingInvalid("KNOWGATE_AUTH", "off", f"on, since KNOWGATE_HOST is {settings.host}, not loopback")
    return settings


def unknown_settings(environ: Mapping[str, str] | None = None) -> tuple[str, ...]:
    """Variables that look like settings and are none: most often a slip of the pen."""
    given = os.environ if environ is None else environ
    known = {setting.name for setting in SETTINGS} | {f"{setting.name}_FILE" for setting in SETTINGS if setting.secret}
    return tuple(sorted(name for name in given if name.startswith(PREFIX) and name not in known))


def child_environment(more: Mapping[str, str]) -> dict[str, str]:
    """The environment of a process that is started here: this one's, and `more`."""
    return {**os.environ, **more}


def silence_telemetry() -> None:
    """Tells the libraries of this process and of those it starts to send nothing home."""
    os.environ.setdefault("DO_NOT_TRACK", "1")
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")


def hash_key(settings: Settings) -> bytes:
    """The key of prompt hashes: as set, or one made on first use and kept in the data folder, readable by its owner."""
    if settings.hash_key is not None:
        return settings.hash_key
    path = settings.data_dir / "hash.key"
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f"hash.key.{os.getpid()}")
    if not path.exists():
        # Linked into place whole: of two processes that start at once, both read the one that came first.
        fresh.touch(mode=0o600)
        fresh.write_text(secrets.token_hex(32))
        try:
            os.link(fresh, path)
        except FileExistsError:
            pass
        finally:
            fresh.unlink()
    return path.read_text().strip().encode()


def operator(settings: Settings) -> str:
    """The name under which a person's moves are recorded: as set, or that of the user of this process."""
    try:
        return settings.operator or getpass.getuser()
    except (OSError, KeyError):  # a user id without a name
        return f"user {os.getuid()}"


def is_loopback(host: str) -> bool:
    """Whether a server bound to `host` is reached from this machine alone."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _field(setting: Setting) -> str:
    return setting.name.removeprefix(PREFIX).lower()


def _value_of(setting: Setting, environ: Mapping[str, str], data_dir: str) -> object:
    text = _text_of(setting, environ)
    if not text:
        text = setting.default.format(data_dir=data_dir)
    if not text:
        return None
    try:
        return setting.parse(text)
    except ValueError:
        shown = "(not shown)" if setting.secret else shown_url(text)
        raise SettingInvalid(setting.name, shown, f"{setting.expected} is expected") from None


def _text_of(setting: Setting, environ: Mapping[str, str]) -> str:
    given = environ.get(setting.name, "")
    file = environ.get(f"{setting.name}_FILE", "") if setting.secret else ""
    if given and file:
        raise SettingInvalid(f"{setting.name}_FILE", file, f"set either it or {setting.name}, not both")
    if not file:
        return given
    try:
        return Path(file).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise SettingInvalid(f"{setting.name}_FILE", file, f"a readable text file is expected ({error})") from None
