"""What the environment sets for the control plane: the only module that reads it, for the
trainer's process too.

A field is a setting: its variable is the field's name in capitals behind KNOWGATE_, its title what
may be given. Bad values stop the start, all reported at once, each with its name, its value and
what was expected. A secret may lie in a file named by `NAME_FILE`, so that it shows in no process
list. The defaults make `knowgate serve` work in a fresh checkout, with everything under ./var.
"""

import base64
import getpass
import ipaddress
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, ValidationError, ValidationInfo
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails, PydanticCustomError
from pydantic_settings import BaseSettings, EnvSettingsSource, PydanticBaseSettingsSource, SettingsConfigDict

from knowgate._wire.networks import PRIVATE, is_network
from knowgate._wire.shown import shown_url
from services.durations import A_DURATION, parse_duration
from services.errors import SettingInvalid

PREFIX = "KNOWGATE_"
WEBHOOK_FORM = "whsec_"
_OTHER = "not as expected"  # the type of a fault that says itself what was expected


class Auth(StrEnum):
    """`on` asks every request for a token; `off` asks nobody, and binds to loopback only."""

    ON = "on"
    OFF = "off"


def is_loopback(host: str) -> bool:
    """Whether a server bound to `host` is reached from this machine alone."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def is_safe(url: str) -> bool:
    """Whether what goes to an http(s) address is read by nobody on the way."""
    parts = urlsplit(url)
    return parts.scheme == "https" or (parts.scheme == "http" and is_loopback(parts.hostname or ""))


@dataclass(frozen=True, slots=True, kw_only=True)
class RoleRule:
    """Whom an identity provider says this of has a role, for all cascades or for some."""

    claim: str
    value: str  # '*' = any
    role: Literal["read", "operator", "admin"]
    cascades: tuple[str, ...] | None  # None = all

    def fits(self, claims: Mapping[str, Any]) -> bool:
        """Whether the claim is this value, or holds it where it is a list."""
        said = claims.get(self.claim)
        values = said if isinstance(said, list) else [said]
        return any(value is not None and self.value in ("*", str(value)) for value in values)


_RULE = re.compile(r"([^=,\s]+)=([^,]+):(read|operator|admin)(?:@([a-z0-9_+-]+))?")


def _role_rules(value: str) -> tuple[RoleRule, ...]:
    found = [_RULE.fullmatch(part.strip()) for part in value.split(",")]
    if None in found:
        raise ValueError
    return tuple(
        RoleRule(claim=one[1], value=one[2], role=one[3], cascades=tuple(one[4].split("+")) if one[4] else None)  # type: ignore[arg-type]
        for one in found
        if one is not None
    )


def _issuer(value: str, info: ValidationInfo) -> str:
    if not is_safe(value):
        raise PydanticCustomError(_OTHER, "an https address is expected, but on this machine")
    wanted = ("public_url", "oidc_client_id", "oidc_roles")
    missing = [PREFIX + name.upper() for name in wanted if not info.data.get(name)]
    if missing:
        raise PydanticCustomError(_OTHER, "it is set together with {missing}", {"missing": " and ".join(missing)})
    return value


def _in_data_dir(value: str, info: ValidationInfo) -> str:
    return value.replace("{data_dir}", str(info.data["data_dir"]))


def _place(value: str) -> str:
    """A URL as it is, a folder as its full path: the database keeps it, and is read from other
    folders.
    """
    return value if "://" in value else str(Path(value).absolute())


def _url(*schemes: str) -> Callable[[str], str]:
    def checked(value: str) -> str:
        if not value.startswith(schemes):
            raise ValueError
        _ = urlsplit(value).port  # a password whose marks are not percent-encoded stands where the port should
        return value

    return checked


def _networks(value: str) -> tuple[str, ...]:
    networks = tuple(part.strip() for part in value.split(","))
    if not all(map(is_network, networks)):
        raise ValueError
    return networks


def _commas(value: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in value.split(","))


def _webhook_key(value: str) -> bytes:
    """The key that signs: of Standard Webhooks' own form what it encodes, of any other text its
    bytes.
    """
    if not value.startswith(WEBHOOK_FORM):
        return value.encode()
    encoded = value.removeprefix(WEBHOOK_FORM)
    return base64.b64decode(encoded + "=" * (-len(encoded) % 4), validate=True)


def _auth_there(value: Auth, info: ValidationInfo) -> Auth:
    if value is Auth.OFF and not is_loopback(info.data["host"]):
        host = info.data["host"]
        raise PydanticCustomError(_OTHER, "on, since KNOWGATE_HOST is {host}, not loopback", {"host": host})
    return value


def _whole(low: int, high: int) -> Any:
    return Field(ge=low, le=high, title=f"a whole number from {low} to {high}")


_SHOWN_TO_NOBODY = Field(repr=False, exclude=True)  # what is left out of every dump may lie in a file
_FOLDER_OR_URL = "a folder or an fsspec URL such as s3://bucket/prefix"
_DATABASES = ("sqlite:///", "postgresql+psycopg://")
_InDataDir = Annotated[str, BeforeValidator(_in_data_dir), Field(repr=False, validate_default=True)]
_Place = Annotated[_InDataDir, AfterValidator(_place), Field(title=_FOLDER_OR_URL)]
_Duration = Annotated[timedelta, BeforeValidator(parse_duration), Field(gt=timedelta(), title=A_DURATION)]
_Bearer = Annotated[str | None, _SHOWN_TO_NOBODY, Field(pattern="^[!-~]+$", title="text without spaces")]
_Amount = Annotated[float, Field(ge=0, allow_inf_nan=False, title="a number of at least 0")]


class Settings(BaseSettings):
    """The settings in force. Secrets do not show in its text, nor do addresses that may
    carry one.
    """

    model_config = SettingsConfigDict(
        alias_generator=lambda name: PREFIX + name.upper(),
        case_sensitive=True,
        enable_decoding=False,  # a list is written with commas, not as JSON
        extra="forbid",
        frozen=True,
        validate_default=False,  # but where a field says so
    )

    # Where all lies that has no address of its own: the embedded database, shards, MLflow's data,
    # keys.
    data_dir: Annotated[Path, Field(title="a folder")] = Path("var")
    database_url: Annotated[
        _InDataDir,
        _SHOWN_TO_NOBODY,
        AfterValidator(_url(*_DATABASES)),
        Field(title="an SQLAlchemy URL: sqlite:///FILE or postgresql+psycopg://USER:PASSWORD@HOST/NAME"),
    ] = "sqlite:///{data_dir}/knowgate.db"
    shards_url: _Place = "{data_dir}/shards"  # of shipped hidden states
    shard_bytes: Annotated[int, _whole(1 << 16, 1 << 32)] = 1 << 28
    shard_grace: _Duration = timedelta(hours=24)
    vector_retention: Annotated[
        timedelta | None,
        BeforeValidator(parse_duration),
        Field(ge=timedelta(days=1), title="a duration from 1d to 3650d"),
    ] = None  # for ever
    row_retention: Annotated[
        timedelta | None,
        BeforeValidator(parse_duration),
        Field(ge=timedelta(days=28), title="a duration from 28d to 3650d"),
    ] = None  # rows of days that are in files stay in the database for ever
    heads_url: _Place = "{data_dir}/heads"  # of the ledger, best where the database's owner cannot write
    witness_keys: Annotated[
        tuple[str, ...],
        BeforeValidator(_commas),
        Field(title="verifier keys (NAME+ID+KEY) with commas between"),
    ] = ()  # nobody has to sign heads beside us
    mlflow_url: Annotated[
        _InDataDir,
        AfterValidator(_url(*_DATABASES, "http://", "https://")),
        Field(title="a tracking URI: http(s)://…, sqlite:///FILE or postgresql+psycopg://…"),
    ] = "sqlite:///{data_dir}/mlflow.db"
    mlflow_assessments: Annotated[Literal["on", "off"], Field(title="on or off")] = "off"
    otlp_logs_url: Annotated[
        str | None,
        _SHOWN_TO_NOBODY,
        AfterValidator(_url("http://", "https://")),
        Field(title="an http(s) address such as http://127.0.0.1:4318/v1/logs"),
    ] = None  # labels and verdicts are given to nobody
    host: Annotated[str, Field(title="an address or a host name to bind to")] = "127.0.0.1"
    port: Annotated[int, _whole(1, 65535)] = 8420
    auth: Annotated[
        Auth, AfterValidator(_auth_there), Field(title="on, or off where KNOWGATE_HOST is a loopback address")
    ] = Auth.ON
    sign_in_lifetime: _Duration = timedelta(hours=12)
    oidc_client_id: Annotated[str | None, Field(min_length=1, title="a name")] = None
    oidc_client_secret: _Bearer = None
    oidc_scopes: Annotated[str, Field(title="names with spaces between")] = "openid profile email"
    oidc_roles: Annotated[
        tuple[RoleRule, ...],
        BeforeValidator(_role_rules),
        Field(title="CLAIM=VALUE:ROLE or CLAIM=VALUE:ROLE@CASCADE+CASCADE, with commas between,"),
    ] = ()
    max_body_bytes: Annotated[int, _whole(1024, 1 << 30)] = 1 << 26
    token_rate: Annotated[int, _whole(1, 1_000_000)] = 1000
    refusal_rate: Annotated[int, _whole(1, 1_000_000)] = 10
    address_connections: Annotated[int, _whole(1, 1_000_000)] = 1000
    public_url: Annotated[
        str | None, AfterValidator(_url("http://", "https://")), Field(title="an http(s) address")
    ] = None  # messages carry no links
    oidc_issuer: Annotated[str | None, AfterValidator(_issuer), Field(title="an https address")] = (
        None  # people sign in with tokens alone
    )
    assignment_lease: _Duration = timedelta(hours=24)
    job_lease: _Duration = timedelta(minutes=2)
    job_limit: _Duration = timedelta(hours=12)
    log_level: Annotated[Literal["debug", "info", "warning", "error"], Field(title="debug, info, warning or error")] = (
        "info"
    )
    hash_key: Annotated[
        bytes | None, _SHOWN_TO_NOBODY, Field(min_length=16, max_length=64, title="16 to 64 bytes of text")
    ] = None  # one is made on first use (services.privacy)
    signing_key: Annotated[
        str | None,
        _SHOWN_TO_NOBODY,
        AfterValidator(str.lower),
        Field(pattern="^[0-9a-fA-F]{64}$", title="an Ed25519 private key as 64 hex digits"),
    ] = None
    webhook_secret: Annotated[
        bytes | None,
        _SHOWN_TO_NOBODY,
        BeforeValidator(_webhook_key),
        Field(min_length=16, title="whsec_ and the base64 of 16 bytes or more, or a text of at least 16 characters,"),
    ] = None  # messages are unsigned
    webhook_networks: Annotated[
        tuple[str, ...],
        BeforeValidator(_networks),
        Field(title="networks with commas between, such as 169.254.7.0/24"),
    ] = ()
    private_addresses: Annotated[Literal["on", "off"], Field(title="on or off")] = "on"
    ping_url: Annotated[
        str | None,
        _SHOWN_TO_NOBODY,
        AfterValidator(_url("http://", "https://")),
        Field(title="an http(s) address such as https://hc-ping.com/UUID"),
    ] = None  # whoever is behind it hears when monitoring falls silent
    delivery_age: _Duration = timedelta(hours=36)
    judge_api_key: _Bearer = None  # of the endpoint that `knowgate labels grade` asks
    token: _Bearer = None  # what `knowgate gateway` shows the control plane
    gateway_key: _Bearer = None  # what callers of `knowgate gateway` show it
    operator: Annotated[str | None, Field(title="a name")] = None
    training_engine: Annotated[Literal["local", "ray"], Field(title="local or ray")] = "local"
    ray_address: Annotated[str, Field(title="host:port of the head node, auto or local")] = "auto"
    ray_workers: Annotated[int, _whole(1, 10_000)] = 1
    ray_cpus_per_worker: _Amount = 1
    ray_gpus_per_worker: _Amount = 0

    @property
    def outgoing_networks(self) -> tuple[str, ...]:
        """Where what is asked from here may lie, of what is refused otherwise."""
        return self.webhook_networks + (PRIVATE if self.private_addresses == "on" else ())

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        *_: PydanticBaseSettingsSource,
        **__: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Only what it is made of: whether the environment is read is said by `read_settings`."""
        return (init_settings,)


SETTINGS: Mapping[str, FieldInfo] = {str(field.alias): field for field in Settings.model_fields.values()}


class _File:
    """Stands for the text of a file that cannot be taken."""

    def __init__(self, path: str, expected: str) -> None:
        self.path = path
        self.expected = expected


class _Environment(EnvSettingsSource):
    """The variables of an environment, and the files that they name of secrets. An empty one is
    none.
    """

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(Settings)
        self.env_vars = {name: value for name, value in environ.items() if value}

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        value, name, _ = super().get_field_value(field, field_name)
        file = self.env_vars.get(f"{name}_FILE") if field.exclude else None
        if file is None:
            return value, name, False
        if value is not None:
            return _File(file, f"set either it or {name}, not both"), name, False
        try:
            return Path(file).read_text(encoding="utf-8").strip() or None, name, False
        except (OSError, UnicodeDecodeError) as error:
            return _File(file, f"a readable text file is expected ({error})"), name, False


def read_settings(environ: Mapping[str, str] | None = None) -> Settings:
    """The settings in `environ` (by default the process's own).

    Raises SettingInvalid with each bad variable's name, its value and what was expected.
    """
    try:
        return Settings(**_Environment(os.environ if environ is None else environ)())
    except ValidationError as error:
        raise SettingInvalid(*map(_fault, error.errors(include_url=False))) from None


def unknown_settings(environ: Mapping[str, str] | None = None) -> tuple[str, ...]:
    """Variables that look like settings and are none: most often a slip of the pen."""
    given = os.environ if environ is None else environ
    known = SETTINGS.keys() | {f"{name}_FILE" for name, field in SETTINGS.items() if field.exclude}
    return tuple(sorted(name for name in given if name.startswith(PREFIX) and name not in known))


def traces_wanted(environ: Mapping[str, str] | None = None) -> bool:
    """Whether OpenTelemetry's own variables name a place for spans and do not switch them off. All
    else that they say is the SDK's to read.
    """
    given = os.environ if environ is None else environ
    named = given.get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT") or given.get("OTEL_EXPORTER_OTLP_ENDPOINT")
    off = given.get("OTEL_SDK_DISABLED", "").lower() == "true" or given.get("OTEL_TRACES_EXPORTER") == "none"
    return bool(named) and not off


def child_environment(more: Mapping[str, str]) -> dict[str, str]:
    """The environment of a process that is started here: this one's, and `more`, also in place of
    files.
    """
    kept = {name: value for name, value in os.environ.items() if name.removesuffix("_FILE") not in more}
    return {**kept, **more}


def operator(settings: Settings) -> str:
    """The name under which a person's moves are recorded: as set, or that of the user of this
    process.
    """
    try:
        return settings.operator or getpass.getuser()
    except (OSError, KeyError):  # a user id without a name
        return f"user {os.getuid()}"


def _fault(error: ErrorDetails) -> tuple[str, object, str]:
    """Name, value and what was expected of it."""
    name, value = str(error["loc"][0]), error["input"]
    if isinstance(value, _File):
        return f"{name}_FILE", value.path, value.expected
    field = SETTINGS[name]
    shown = "(not shown)" if field.exclude else shown_url(str(value))
    return name, shown, error["msg"] if error["type"] == _OTHER else f"{field.title} is expected"
