"""The environment is read once, strictly, and secrets stay out of sight."""

import base64
import re
import threading
import tokenize
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import StringIO
from pathlib import Path

import pytest
from standardwebhooks import Webhook

from services.durations import parse_duration
from services.errors import SettingInvalid
from services.privacy import hash_key
from services.settings import SETTINGS, Auth, child_environment, read_settings, unknown_settings
from services.upkeep.checkup import examine

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs" / "configuration.md"


def test_an_empty_environment_gives_a_working_service_under_var() -> None:
    settings = read_settings({})
    assert settings.database_url == "sqlite:///var/knowgate.db"
    assert settings.shards_url == str(Path("var/shards").absolute())
    assert (settings.host, settings.auth) == ("127.0.0.1", Auth.ON)
    assert settings.assignment_lease == timedelta(hours=24)


def test_all_defaults_move_with_the_data_folder() -> None:
    settings = read_settings({"KNOWGATE_DATA_DIR": "/srv/kg"})
    assert settings.database_url == "sqlite:////srv/kg/knowgate.db"
    assert settings.mlflow_url == "sqlite:////srv/kg/mlflow.db"


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("KNOWGATE_PORT", "eighty", "1 to 65535"),
        ("KNOWGATE_PORT", "0", "1 to 65535"),
        ("KNOWGATE_AUTH", "maybe", "on, or off"),
        ("KNOWGATE_MLFLOW_URL", "./mlruns", "tracking URI"),
        ("KNOWGATE_MAX_BODY_BYTES", "10", "1024"),
        ("KNOWGATE_ASSIGNMENT_LEASE", "0h", "a duration"),
        ("KNOWGATE_JOB_LEASE", "1000000000d", r"10m, 30s or 1d12h, of at most 3650d, is expected$"),
        ("KNOWGATE_SHARD_GRACE", "999999999d", r"of at most 3650d, is expected$"),
        ("KNOWGATE_VECTOR_RETENTION", "999999999d", r": a duration from 1d to 3650d is expected$"),
        ("KNOWGATE_LOG_LEVEL", "loud", "debug, info"),
        ("KNOWGATE_TRAINING_ENGINE", "spark", "local or ray"),
        ("KNOWGATE_RAY_WORKERS", "0", "1 to 10000"),
        ("KNOWGATE_RAY_GPUS_PER_WORKER", "-1", "at least 0"),
        ("KNOWGATE_RAY_CPUS_PER_WORKER", "inf", "at least 0"),
    ],
)
def test_a_bad_value_is_told_with_its_name_its_value_and_what_was_expected(
    name: str, value: str, expected: str
) -> None:
    with pytest.raises(SettingInvalid, match=expected) as caught:
        read_settings({name: value})
    assert name in str(caught.value) and repr(value) in str(caught.value)


def test_a_bad_secret_is_told_without_its_value() -> None:
    with pytest.raises(SettingInvalid) as caught:
        read_settings({"KNOWGATE_HASH_KEY": "hunter2"})
    assert "KNOWGATE_HASH_KEY" in str(caught.value) and "hunter2" not in str(caught.value)


def test_no_secret_shows_in_the_settings_text() -> None:
    settings = read_settings({"KNOWGATE_SIGNING_KEY": "0123456789abcdef" * 4})
    assert settings.signing_key == "0123456789abcdef" * 4
    assert "0123456789abcdef" not in repr(settings)


def test_no_address_with_a_password_shows_in_the_settings_text_or_a_refusal() -> None:
    given = {
        "KNOWGATE_DATABASE_URL": "postgresql+psycopg://me:hunter2@db/knowgate",
        "KNOWGATE_MLFLOW_URL": "https://me:hunter2@mlflow/?token=hunter2",
        "KNOWGATE_SHARDS_URL": "s3://key:hunter2@bucket/x",
    }
    assert "hunter2" not in repr(read_settings(given)) + str(read_settings(given))
    for name, value in {
        "KNOWGATE_DATABASE_URL": "mysql://me:hunter2@db/x",
        "KNOWGATE_MLFLOW_URL": "ftp://me:hunter2@mlflow",
    }.items():
        with pytest.raises(SettingInvalid, match=name) as caught:
            read_settings({name: value})
        assert "hunter2" not in str(caught.value)
    with pytest.raises(SettingInvalid, match="not shown"):  # a slash in a password wants to be written %2F
        read_settings({"KNOWGATE_DATABASE_URL": "postgresql+psycopg://me:hunter2/x@db/knowgate"})


def test_networks_of_webhooks_are_a_list_of_networks() -> None:
    read = read_settings({"KNOWGATE_WEBHOOK_NETWORKS": "169.254.7.0/24, fe80::/64"})
    assert read.webhook_networks == ("169.254.7.0/24", "fe80::/64") and read_settings({}).webhook_networks == ()
    with pytest.raises(SettingInvalid, match="networks with commas between"):
        read_settings({"KNOWGATE_WEBHOOK_NETWORKS": "169.254.7.9/24"})


def test_the_doctor_shows_no_password_of_an_address(tmp_path: Path) -> None:
    given = {
        "KNOWGATE_DATA_DIR": str(tmp_path),
        "KNOWGATE_DATABASE_URL": "postgresql+psycopg://me:hunter2@127.0.0.1:9/knowgate?sslpassword=hunter2",
        "KNOWGATE_MLFLOW_URL": "http://me:hunter2@127.0.0.1:9/mlflow?token=hunter2",
        "KNOWGATE_SHARDS_URL": "unheardof://key:hunter2@bucket/x",
    }
    findings = examine(read_settings(given), now=datetime(2026, 3, 1, tzinfo=UTC))
    shown = " ".join(str(finding) for finding in findings)
    assert "hunter2" not in shown
    for place in ("***@127.0.0.1:9/knowgate", "http://***@127.0.0.1:9/…", "***@bucket"):
        assert place in shown, shown


def test_a_webhook_secret_signs_as_the_library_reads_it() -> None:
    for given, read in (
        ("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"),
        ("whsec_MTIzNDU2Nzg5MDEyMzQ1Ng", "whsec_MTIzNDU2Nzg5MDEyMzQ1Ng=="),  # without its padding
        ("a plain text of old", b"a plain text of old"),
        ("another whsec_MTIzNA", b"another whsec_MTIzNA"),
    ):
        secret = read_settings({"KNOWGATE_WEBHOOK_SECRET": given}).webhook_secret
        assert secret is not None
        now = datetime(2026, 3, 1, tzinfo=UTC)
        assert Webhook(secret).sign("1", now, "{}") == Webhook(read).sign("1", now, "{}")


@pytest.mark.parametrize("given", ["whsec_hunter2", "whsec_", "whsec_hunter2 hunter2 hunter2", "whsec_aHVudGVyMg=="])
def test_a_webhook_secret_that_is_no_base64_or_too_short_is_refused_with_the_cure(given: str) -> None:
    with pytest.raises(SettingInvalid, match="whsec_ and the base64 of 16 bytes or more") as caught:
        read_settings({"KNOWGATE_WEBHOOK_SECRET": given})
    assert "hunter2" not in str(caught.value) and "aHVudGVyMg" not in str(caught.value)


def test_the_doctor_signs_in_to_mlflow_as_its_address_says(tmp_path: Path) -> None:
    asked: list[tuple[str, str | None]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append((self.path, self.headers["Authorization"]))
            self.send_response(200)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        address = f"http://me:hunter%232@127.0.0.1:{server.server_port}/mlflow/"
        given = {"KNOWGATE_DATA_DIR": str(tmp_path), "KNOWGATE_MLFLOW_URL": address}
        findings = list(examine(read_settings(given), now=datetime(2026, 3, 1, tzinfo=UTC)))
        server.shutdown()
    (finding_of_mlflow,) = [finding for finding in findings if finding.check == "mlflow"]
    assert "answers" in finding_of_mlflow.found and "hunter" not in finding_of_mlflow.found
    assert asked == [("/mlflow/health", f"Basic {base64.b64encode(b'me:hunter#2').decode()}")]


def test_a_secret_may_lie_in_a_file(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("a secret of some length\n")
    settings = read_settings({"KNOWGATE_HASH_KEY_FILE": str(tmp_path / "key")})
    assert settings.hash_key == b"a secret of some length"


def test_a_secret_given_twice_or_in_a_missing_file_stops_the_start(tmp_path: Path) -> None:
    missing = {"KNOWGATE_HASH_KEY_FILE": str(tmp_path / "nowhere")}
    with pytest.raises(SettingInvalid, match=r"KNOWGATE_HASH_KEY_FILE.*readable"):
        read_settings(missing)
    with pytest.raises(SettingInvalid, match="not both"):
        read_settings(missing | {"KNOWGATE_HASH_KEY": "a secret of some length"})


def test_auth_is_switched_off_on_loopback_only() -> None:
    assert read_settings({"KNOWGATE_AUTH": "off", "KNOWGATE_HOST": "::1"}).auth is Auth.OFF
    with pytest.raises(SettingInvalid, match=r"KNOWGATE_AUTH.*0\.0\.0\.0"):
        read_settings({"KNOWGATE_AUTH": "off", "KNOWGATE_HOST": "0.0.0.0"})


def test_a_hash_key_is_made_once_and_kept_for_its_owner(tmp_path: Path) -> None:
    settings = read_settings({"KNOWGATE_DATA_DIR": str(tmp_path / "data")})
    first = hash_key(settings)
    assert 16 <= len(first) <= 64
    assert hash_key(settings) == first
    assert (tmp_path / "data" / "hash.key").stat().st_mode & 0o077 == 0


def test_a_misspelt_variable_is_found() -> None:
    assert unknown_settings({"KNOWGATE_DATABSE_URL": "x", "KNOWGATE_HASH_KEY_FILE": "y", "HOME": "/"}) == (
        "KNOWGATE_DATABSE_URL",
    )


def test_every_setting_is_documented_with_its_default() -> None:
    rows = dict(re.findall(r"^\| `(KNOWGATE_\w+)`(?: \(or `_FILE`\))? \| (.+?) \|", DOCS.read_text(), re.M))
    assert set(rows) == set(SETTINGS)
    for name, setting in SETTINGS.items():
        if setting.default not in (None, ()):
            shown = rows[name].strip("`")
            default = parse_duration(shown) if isinstance(setting.default, timedelta) else shown
            assert str(setting.default) == str(default), name


def test_a_variable_that_may_lie_in_a_file_is_documented_as_such() -> None:
    in_files = set(re.findall(r"^\| `(KNOWGATE_\w+)` \(or `_FILE`\) \|", DOCS.read_text(), re.M))
    assert in_files == {name for name, setting in SETTINGS.items() if setting.exclude}


def test_all_bad_values_are_told_at_once(tmp_path: Path) -> None:
    given = {
        "KNOWGATE_PORT": "eighty",
        "KNOWGATE_JOB_LEASE": "1 week",
        "KNOWGATE_SIGNING_KEY": "hunter2",
        "KNOWGATE_TOKEN_FILE": str(tmp_path),
        "KNOWGATE_HOST": "0.0.0.0",
        "KNOWGATE_AUTH": "off",
    }
    with pytest.raises(SettingInvalid) as caught:
        read_settings(given)
    lines = str(caught.value).splitlines()
    assert {line.split()[0] for line in lines} == given.keys() - {"KNOWGATE_HOST"} and len(lines) == 5
    assert all("expected" in line or "KNOWGATE_AUTH" in line for line in lines) and "hunter2" not in str(caught.value)


def test_a_child_is_given_a_value_in_place_of_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KNOWGATE_DATABASE_URL_FILE", "/run/secrets/url")
    given = child_environment({"KNOWGATE_DATABASE_URL": "sqlite:///a.db"})
    assert "KNOWGATE_DATABASE_URL_FILE" not in given and read_settings(given).database_url == "sqlite:///a.db"


# Who reads or sets variables beside the settings, and why: libraries that are configured in no
# other way, and the runtime, which works without a control plane and takes an endpoint's key from
# where the tier declares it.
SETTERS = {
    "monitoring/reports/daily_report.py": "Evidently is to send nothing home",
    "services/command_line.py": "libraries are to send nothing home; the settings would slow down --help",
    "training/engines/cluster.py": "Ray is to be quiet",
    "training/publishing/registry.py": "MLflow is to send nothing home and to give up in time",
}
READERS = {"services/settings.py", "runtime/knowgate/backends/factory.py"}


@pytest.mark.slow
def test_no_other_module_reads_the_environment() -> None:
    uses: dict[str, set[str]] = {}
    for room in ("runtime/knowgate", "evidence", "store", "monitoring", "training", "services", "demo"):
        for file in (ROOT / room).rglob("*.py"):
            uses[str(file.relative_to(ROOT))] = set(re.findall(r"os\.(environ(?:\.\w+)?|getenv)", _code(file)))
    assert {name for name, found in uses.items() if found} == READERS | SETTERS.keys()
    assert all(uses[name] == {"environ.setdefault"} for name in SETTERS), "they set, and do not read"


def _code(file: Path) -> str:
    """A module's text without its comments and texts."""
    tokens = tokenize.generate_tokens(StringIO(file.read_text()).readline)
    return "".join(token.string for token in tokens if token.type in (tokenize.NAME, tokenize.OP))
