"""A cascade file is taken whole or refused with everything that is wrong in it."""

import dataclasses
import json
import re
import typing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from knowgate._records.records import LabelSource
from knowgate.backends import early_of
from knowgate.backends.endpoint import Endpoint
from knowgate.policy import PolicyKind
from knowgate.spec import CascadeSpec, Privacy, PromiseKind
from services.declaration.cascade_file import parse_cascade, read_cascade_file, unreadable_later
from services.declaration.cascade_text import format_cascade, without_secrets
from services.durations import format_duration, parse_duration
from services.errors import CascadeFileInvalid

DOCS = Path(__file__).parents[3] / "docs" / "configuration.md"

SMALLEST = """
name = "support"
[[tiers]]
name = "small"
model = "tiny"
parameters = 8e9
[[tiers]]
name = "large"
model = "huge"
parameters = 70e9
"""


def faults_of(text: str) -> str:
    with pytest.raises(CascadeFileInvalid) as caught:
        parse_cascade(text)
    return str(caught.value)


def test_the_smallest_file_gets_every_default() -> None:
    spec = parse_cascade(SMALLEST)
    assert [tier.name for tier in spec.tiers] == ["small", "large"]
    assert spec.exploration_rate == 0.05
    assert spec.privacy is Privacy.HASH
    assert spec.targets.rule is PolicyKind.GATES
    assert spec.targets.promise is PromiseKind.ROLLING


def test_the_documented_example_is_a_cascade() -> None:
    example = re.findall(r"```toml\n(.*?)```", DOCS.read_text(), re.S)[0]
    spec = parse_cascade(example)
    assert spec.tiers[0].layers == (20, 28)
    price = spec.tiers[0].price_at(datetime(2026, 3, 5, tzinfo=UTC))
    assert price is not None and price.usd_per_million_tokens_in == 0.04
    assert spec.horizons.sources == (LabelSource.GOLD, LabelSource.FEEDBACK)
    assert spec.horizons.feedback == timedelta(hours=12)


@pytest.mark.parametrize("text", [SMALLEST, re.findall(r"```toml\n(.*?)```", DOCS.read_text(), re.S)[0]])
def test_a_cascade_written_out_is_read_back_the_same(text: str) -> None:
    spec = parse_cascade(text)
    assert parse_cascade(format_cascade(spec)) == spec


@pytest.mark.parametrize("text", ['a"b\\c\né', "\x01\x1f\x7f\x85\u2028\ufeff", "'''", "# [x]", "\U0001f600", "x\r\n\t"])
def test_odd_text_survives_the_round_trip(text: str) -> None:
    spec = parse_cascade(SMALLEST)
    spec = dataclasses.replace(spec, tiers=(dataclasses.replace(spec.tiers[0], model=text), spec.tiers[1]))
    assert parse_cascade(format_cascade(spec)) == spec


@pytest.mark.parametrize("parameters", [1e-9, 1e300, 8e9, 0.1 + 0.2, 5e-324])
def test_a_number_survives_the_round_trip(parameters: float) -> None:
    spec = parse_cascade(SMALLEST)
    spec = dataclasses.replace(spec, tiers=(dataclasses.replace(spec.tiers[0], parameters=parameters), spec.tiers[1]))
    assert parse_cascade(format_cascade(spec)) == spec


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (("8e9", "0"), "tiers[0].parameters is 0.0: the number of parameters is above 0"),
        (("8e9", '"many"'), "tiers[0].parameters is 'many': a finite number"),
        (("8e9", "true"), "tiers[0].parameters is True: a finite number"),
        (('"support"', '"Sup port"'), "name is 'Sup port': use 1 to 63"),
        (('"large"', '"small"'), "tiers is ['small', 'small']: every tier has a name of its own"),
        (('model = "huge"', ""), "tiers[1].model is missing: this key is required"),
        (('model = "huge"', 'model = "huge"\nbackend = "magic"'), "tiers[1].backend is 'magic': use one of external"),
        (('name = "support"', 'name = "support"\nprivacy = "some"'), "privacy is 'some': use one of never, hash, full"),
        (('name = "support"', 'name = "support"\nexploration_rat = 0.1'), "did you mean exploration_rate?"),
        (('name = "support"', 'name = "support"\nwebhooks = ["ftp://x"]'), "webhooks[0] is 'ftp://x'"),
        (('model = "huge"', 'model = "huge"\nbackend = "vllm"'), "tiers[1].endpoint is missing: backend vllm is asked"),
        (('model = "huge"', 'model = "huge"\nendpoint = "host:80"'), "tiers[1].endpoint is 'host:80': an http:// or"),
        (('model = "huge"', 'model = "huge"\nendpoint = "http://h:x"'), "tiers[1].endpoint is 'http://h:x': an http"),
        (('model = "huge"', 'model = "huge"\nendpoint = "https://"'), "tiers[1].endpoint is 'https://': an http:// or"),
        (('name = "support"', 'name = "support"\nalarms.alpha = 0.6'), "alarms.alpha is 0.6: lies above 0 and is at"),
        (('name = "support"', 'name = "support"\nhorizons.sources = ["gold", "gold"]'), "name every source once"),
        (
            ('name = "support"', 'name = "support"\npromotion = { steps = [0.25, 0.05] }'),
            "promotion.steps is [0.25, 0.05]: give shares in [0, 1], each larger than the one before",
        ),
        (
            ('name = "support"', 'name = "support"\npromotion = { dwell = "3d", deadline = "2d" }'),
            "promotion.deadline is '2 days': a step ends before it may pass",
        ),
        (
            ('name = "support"', 'name = "support"\npromotion = { steps = [0, 0.1], deadline = "5d" }'),
            "promotion.deadline is '5 days': no decision is old enough to be judged by then: labels take 7 days",
        ),
        (
            ('name = "support"', 'name = "support"\nvector_retention = "36h"'),
            "vector_retention is '1.5 days': training",
        ),
        (('"tiny"', '"ti\\u0000ny"'), "tiers[0].model is 'ti\\x00ny': a text holds no NUL character; remove it"),
        (('name = "support"', 'name = "support"\n"" = 3'), '"" is 3: this key is not known; use one of name, '),
        (('name = "support"', 'name = "support"\nalarms.max_tokens = 0'), "alarms.max_tokens is 0: a query takes at"),
        (('name = "support"', 'name = "support"\nalarms.savings_margin = 1.0'), "alarms.savings_margin is 1.0: lies"),
        (('name = "support"', 'name = "support"\nalarms.savings_margin = -1'), "alarms.savings_margin is -1.0: lies"),
        (('name = "support"', 'name = "support"\ntargets = 3'), "targets is 3: a table is expected"),
        (('name = "support"', "name = "), "it is not TOML"),
    ],
)
def test_a_fault_is_told_by_its_path_its_value_and_the_cure(change: tuple[str, str], fault: str) -> None:
    assert fault in faults_of(SMALLEST.replace(*change, 1) if change[0] != '"large"' else SMALLEST.replace(*change))


def test_a_naive_price_date_is_refused_by_its_path() -> None:
    price = "[[tiers.prices]]\nsince = 2026-01-31T00:00:00\n"
    price += "usd_per_million_tokens_in = 1\nusd_per_million_tokens_out = 2\n"
    assert "tiers[1].prices[0].since is 2026-01-31T00:00:00: the time is naive" in faults_of(SMALLEST + price)


PRICE = "{ since = %s, usd_per_million_tokens_in = 1, usd_per_million_tokens_out = 1 }"


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        (SMALLEST.replace("8e9", "1" + 400 * "0"), "tiers[0].parameters is 10000"),
        (SMALLEST.replace("8e9", "1" + 5000 * "0"), "it holds a whole number of thousands of digits: whole numbers"),
        (SMALLEST.replace("8e9", "0x1" + 5000 * "0"), "tiers[0].parameters is too long to show: a finite number"),
        (SMALLEST + "layers = " + 20_000 * "[", "it nests too deeply to be read"),
        (".".join(3_000 * ["a"]) + " = 1" + SMALLEST, "a is too long to show: this key is not known"),
        (f"{SMALLEST}layers = [99999999999999999999]", "tiers[1].layers[0] is 99999999999999999999: a whole number of"),
        (f"{SMALLEST}[alarms]\nmax_tokens = {26 * '9'}", f"alarms.max_tokens is {26 * '9'}: a whole number of at most"),
        (
            f"{SMALLEST}prices = [{PRICE % '0001-01-01T00:00:00+14:00'}]",
            "tiers[1].prices[0].since is 0001-01-01T00:00:00+14:00: a time between the years 1 and 9999 UTC",
        ),
        (
            f"{SMALLEST}prices = [{PRICE % '9999-12-31T23:59:59-14:00'}]",
            "tiers[1].prices[0].since is 9999-12-31T23:59:59-14:00: a time between the years 1 and 9999 UTC",
        ),
        (
            f"{SMALLEST}prices = [{PRICE % '2026-01-01T00:00:00Z'}, {PRICE % '2026-01-01T01:00:00+01:00'}]",
            "tiers[1].prices is ['2026-01-01T00:00:00+00:00', '2026-01-01T00:00:00+00:00']: two prices hold from the",
        ),
        (f"{SMALLEST}endpoint = 5", "tiers[1].endpoint is 5: text in quotes is expected"),
        (f'{SMALLEST}backend = "vllm"\nendpoint = 5', "tiers[1].endpoint is 5: text in quotes is expected"),
    ],
    ids=range(12),
)
def test_what_no_deployment_could_read_back_is_one_fault(text: str, fault: str) -> None:
    faults = faults_of(text)
    assert faults.startswith(f"cascade.toml: {fault}") and faults.count("\n") == 0


def test_a_file_counts_as_read_only_if_what_is_kept_of_it_is() -> None:
    spec = parse_cascade(SMALLEST)
    assert list(unreadable_later(spec)) == []
    small = replace(spec.tiers[0], model="ti\x00ny")
    assert list(unreadable_later(replace(spec, tiers=(small, *spec.tiers[1:])))) == [
        "tiers[0].model is 'ti\\x00ny': a text holds no NUL character; remove it"
    ]


NO_ADDRESSES = (
    "",
    " http://h",
    "http://h ",
    "http://a b",
    "http://h/\t",
    "http://h/\0",
    "http://h/\u2028",
    "HTTP://h",
    "http://.",
    "http://...",
    "http://a..b",
    "http://%zz",
    "http://h%41",
    "http://h%",
    "http://[::1",
    "http://h:abc/v1",
    "http://h:0",
    "http://h:99999",
    "http://h\\x",
    "http:///v1",
    "http://xn--0.",
)


@pytest.mark.parametrize("url", NO_ADDRESSES)
def test_what_is_no_address_is_refused_where_it_is_declared(url: str) -> None:
    written = json.dumps(url)
    if "\0" not in url:
        assert "tiers[1].endpoint is" in faults_of(f"{SMALLEST}endpoint = {written}\n")
    assert "webhooks[0] is" in faults_of(f"webhooks = [{written}]\n{SMALLEST}")


@pytest.mark.parametrize(
    "url", ["http://h", "https://h.example:8000/v1", "http://127.0.0.1:80", "http://[::1]:80/v1", "http://my_host./v1"]
)
def test_an_address_that_is_declared_is_one_that_a_tier_takes(url: str) -> None:
    endpoint = parse_cascade(f"{SMALLEST}endpoint = {json.dumps(url)}\n").tiers[1].endpoint
    assert endpoint == url and Endpoint(endpoint, None).url == url


REFUSED = (
    "http://169.254.169.254/latest/meta-data",
    "http://[fe80::1]:8000/v1",
    "http://0.0.0.0:8000/v1",
    "http://[::]:8000",
    "http://224.0.0.1",
    "http://0x7f.1:8000/v1",
    "http://2852039166/v1",
    "http://0251.0376.0251.0376",
    "http://169.254.169.254./v1",
    "http://[::ffff:169.254.169.254]/v1",
    "http://127.0.0.1.:80",
)


@pytest.mark.parametrize("url", REFUSED)
def test_an_address_that_no_model_or_receiver_has_is_refused_where_it_is_declared(url: str) -> None:
    faults = faults_of(f"webhooks = [{json.dumps(url)}]\n{SMALLEST}endpoint = {json.dumps(url)}\n")
    assert "tiers[1].endpoint is" in faults and "webhooks[0] is" in faults
    assert any(why in faults for why in ("not asked", "another spelling", "address is expected"))


@pytest.mark.parametrize("url", ["http://h:8000/v1?api-key=hunter2", "http://h/v1#hunter2", "http://h?hunter2"])
def test_an_endpoint_is_a_root_without_a_query(url: str) -> None:
    faults = faults_of(f"{SMALLEST}endpoint = {json.dumps(url)}\n")
    assert "tiers[1].endpoint is" in faults and "root" in faults and "api_key_variable" in faults
    assert "hunter2" not in faults
    assert "webhooks[0] is" in faults_of(f'webhooks = ["http://h/x#@169.254.169.254/"]\n{SMALLEST}')
    assert parse_cascade(f'webhooks = ["http://h/x?key=1"]\n{SMALLEST}').webhooks == ("http://h/x?key=1",)


@pytest.mark.parametrize(
    "line",
    [
        'webhooks = "https://h/hunter2"',
        'webhooks = ["htps://h/hunter2?hunter2"]',
        'webhooks = ["hunter2"]',
        'webhook = ["https://h/hunter2"]',
        'api_key = "hunter2"',
        'password = { it = "hunter2" }',
    ],
)
def test_what_may_be_a_secret_is_not_shown_whatever_is_wrong_with_it(line: str) -> None:
    faults = faults_of(f"{line}\n{SMALLEST}")
    assert line.partition(" ")[0] in faults and "hunter2" not in faults


def test_a_webhook_may_lie_where_the_setting_allows_it() -> None:
    text = f'webhooks = ["http://169.254.7.9/hook"]\n{SMALLEST}'
    assert parse_cascade(text, webhook_networks=("169.254.7.0/24",)).webhooks == ("http://169.254.7.9/hook",)
    assert "webhooks[0] is 'http://169.254.7.9/…'" in faults_of(text)


@pytest.mark.parametrize("url", ["http://user:hunter2@h", "http://hunter2@h/v1", "http://u:hunter2@[::1"])
def test_a_key_in_an_address_is_refused_and_not_shown(url: str) -> None:
    faults = faults_of(f'webhooks = ["{url}"]\n{SMALLEST}endpoint = "{url}"\n')
    assert "tiers[1].endpoint is '(not shown)': user and password have no place in a declaration" in faults
    assert "api_key_variable" in faults and "hunter2" not in faults and faults.count("\n") == 1


def test_durations_are_checked() -> None:
    assert "horizons.gold is 'soon': a duration such as 7d" in faults_of(SMALLEST + '[horizons]\ngold = "soon"\n')
    assert "horizons.gold is '0d': a duration above 0" in faults_of(SMALLEST + '[horizons]\ngold = "0d"\n')
    assert "horizons.gold is 7: a duration such as" in faults_of(SMALLEST + "[horizons]\ngold = 7\n")
    assert "horizons.sources is []" in faults_of(SMALLEST + "[horizons]\nsources = []\n")


def test_all_faults_are_told_at_once() -> None:
    faults = faults_of(SMALLEST.replace("8e9", "-1") + '[horizons]\ngold = "soon"\n[targets]\ndelta = 2\n')
    assert faults.count("\n") == 2


FAULTY = """
name = "Sup port"
exploration_rate = 7
privacy = "some"
webhooks = [5, "ftp://x"]
[[tiers]]
name = ""
model = " "
parameters = -1
backend = "magic"
layers = [3, 3, -1]
[[tiers.prices]]
since = 2026-01-31T00:00:00
usd_per_million_tokens_in = -1
usd_per_million_tokens_out = 2
[[tiers]]
name = "large"
prices = 3
[targets]
value = 3
delta = 2
rule = "escalate_all"
[horizons]
gold = "soon"
sources = []
[schedule]
monitor_every = "now"
[alarms]
alpha = 5
"""


def test_one_look_finds_every_fault_of_a_file_whatever_else_is_wrong_in_it() -> None:
    places = {line.split(" is ", 1)[0].removeprefix("cascade.toml: ") for line in faults_of(FAULTY).splitlines()}
    assert places == {
        "name",
        "exploration_rate",
        "privacy",
        "webhooks[0]",
        "webhooks[1]",
        "tiers[0].name",
        "tiers[0].model",
        "tiers[0].parameters",
        "tiers[0].backend",
        "tiers[0].layers",
        "tiers[0].prices[0].since",
        "tiers[0].prices[0].usd_per_million_tokens_in",
        "tiers[1].model",
        "tiers[1].parameters",
        "tiers[1].prices",
        "targets.value",
        "targets.delta",
        "targets.rule",
        "horizons.gold",
        "horizons.sources",
        "schedule.monitor_every",
        "alarms.alpha",
    }


@pytest.mark.parametrize(
    ("text", "field"),
    [
        ("", "name"),
        ("tiers = []", "tiers"),
        ('name = "x"\ntiers = [1, 2]', "tiers[0]"),
        ('name = "x"\n[[tiers]]\nname = "a"\nmodel = "m"\nparameters = 1', "tiers"),
    ],
)
def test_a_file_without_the_least_is_refused_by_what_is_missing(text: str, field: str) -> None:
    assert f"cascade.toml: {field} is " in faults_of(text)


def test_a_fault_of_one_key_accuses_no_other() -> None:
    """What stands in for a bad value is never reported itself."""
    assert faults_of(SMALLEST.replace('"small"', "7")).count("\n") == 0
    prices = (
        "prices = [{ since = 2026-01-01T00:00:00Z, usd_per_million_tokens_in = 1, usd_per_million_tokens_out = 1 },"
    )
    prices += "{ since = 5, usd_per_million_tokens_in = 1, usd_per_million_tokens_out = 1 }]"
    assert faults_of(SMALLEST + prices) == (
        "cascade.toml: tiers[1].prices[1].since is 5: a time without quotes is expected, e.g. 2026-01-31T00:00:00Z"
    )


def test_a_file_that_is_not_utf8_is_told_so_and_not_to_check_its_path(tmp_path: Path) -> None:
    file = tmp_path / "cascade.toml"
    file.write_bytes(SMALLEST.replace("support", "caf\u00e9").encode("latin-1"))
    with pytest.raises(
        CascadeFileInvalid, match="line 2 holds the byte 0xe9, which is not UTF-8: save the file as UTF-8"
    ):
        read_cascade_file(file)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(CascadeFileInvalid, match=r"nowhere\.toml"):
        read_cascade_file(tmp_path / "nowhere.toml")


def keys_of(kind: Any, path: str = "") -> dict[str, Any]:
    """Every key of the file that has no sub-keys, by its dotted path."""
    hints = typing.get_type_hints(kind)
    keys: dict[str, Any] = {}
    for field in dataclasses.fields(kind):
        hint = hints[field.name]
        inner = typing.get_args(hint)[0] if typing.get_origin(hint) is tuple else hint
        name = f"{path}{field.name}"
        if dataclasses.is_dataclass(inner):
            keys.update(keys_of(inner, f"{name}."))
            if inner is not hint and field.default is not dataclasses.MISSING:
                keys[name] = field.default
        else:
            made = field.default_factory
            keys[name] = field.default if made is dataclasses.MISSING else made()
    return keys


def test_every_key_is_documented_with_its_default() -> None:
    rows = dict(re.findall(r"^\| `([a-z_.]+)` \| (.+?) \|", DOCS.read_text(), re.M))
    keys = keys_of(CascadeSpec)
    assert set(rows) == set(keys)
    for name, default in keys.items():
        documented = rows[name].strip("`")
        if default is dataclasses.MISSING:
            assert documented == "required", name
        elif default is None:
            assert documented == "not set", name
        elif isinstance(default, bool):
            assert documented == str(default).lower(), name
        else:
            written = format_duration(default) if isinstance(default, timedelta) else default
            shown = list(written) if isinstance(written, tuple) else written
            assert documented.replace('"', "") == str(
                [str(item) for item in shown] if isinstance(shown, list) else shown
            ).replace("'", ""), name


@pytest.mark.parametrize("text", ["1000000000d", "999999999d", "3651d", 400 * "9" + "d", "3650d1s", "0.0001s"])
def test_a_duration_that_nothing_can_reckon_with_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"a duration of at (most 3650d \(10 years\)|least 0.001s) is expected"):
        parse_duration(text)
    assert "horizons.gold is" in faults_of(f'{SMALLEST}[horizons]\ngold = "{text}"\n')


def test_a_short_duration_is_written_in_decimals() -> None:
    assert format_duration(timedelta(microseconds=1)) == "0.000001s"
    assert format_duration(timedelta(days=3, milliseconds=1)) == "259200.001s"


@pytest.mark.parametrize("text", ["7d", "12h", "10m", "30s", "1d12h", "0.5s", "0.001s", "3650d", "86400.001s"])
def test_a_duration_is_written_as_it_was_read(text: str) -> None:
    assert format_duration(parse_duration(text)) == text


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ("delta = 0.51", "targets.delta is 0.51: lies above 0 and is at most 0.5"),
        ('trusted = ["gold", "gold"]', "targets.trusted is ['gold', 'gold']: name every source once"),
        ('rule = "abc"', "targets.rule is 'abc': use one of p_t, p_ik, gates, score"),
        ('rule = "escalate_all"', "targets.rule is 'escalate_all': use one of p_t, p_ik, gates, score"),
        ('promise = "monthly"', "targets.promise is 'monthly': use one of rolling, season"),
        ("rule = []", "targets.rule is []: use one of p_t, p_ik, gates, score"),
    ],
)
def test_targets_that_nothing_can_certify_are_refused(line: str, fault: str) -> None:
    faults = faults_of(f"{SMALLEST}[targets]\n{line}\n")
    assert fault in faults
    assert "PolicyKind" not in faults and len(faults.splitlines()) == 1


WITH_REQUEST = SMALLEST.replace(
    'model = "tiny"',
    """model = "tiny"
backend = "openai"
endpoint = "http://host/v1"
timeout = "1m30s"
request = { top_k = 1, stop = ["a", "b"], "odd name" = { deep = { yes = true, part = 0.5 } } }
""",
)


def test_a_tier_may_be_ended_early_where_its_prompt_shows_anything_and_never_the_last_one() -> None:
    head, small, large = SMALLEST.split("[[tiers]]")
    early = "early = true\nlayers = [2]\n"
    spec = parse_cascade(f"{head}[[tiers]]{small}{early}[[tiers]]{large}")
    assert early_of(spec) == (0,)
    assert parse_cascade(format_cascade(spec)) == spec
    assert "nothing is known before the answer" in faults_of(f"{head}[[tiers]]{small}early = true\n[[tiers]]{large}")
    assert "the last tier always answers" in faults_of(f"{SMALLEST}{early}")


def test_request_parameters_and_a_time_limit_are_read_and_written_again() -> None:
    spec = parse_cascade(WITH_REQUEST)
    tier = spec.tiers[0]
    assert tier.request == {"top_k": 1, "stop": ["a", "b"], "odd name": {"deep": {"yes": True, "part": 0.5}}}
    assert tier.timeout == timedelta(seconds=90) and spec.tiers[1].timeout is None
    assert parse_cascade(format_cascade(spec)) == spec
    deep = {"a": [], "b": {}, "c": [{"x": 1}, {"y": [1, [2, "z"]]}], "d": [1, {"e": {"f": 2.5}}], "": {"\n.": True}}
    spec = dataclasses.replace(spec, tiers=(dataclasses.replace(tier, request=deep), spec.tiers[1]))
    assert parse_cascade(format_cascade(spec)) == spec
    as_a_table = f'{SMALLEST}backend = "openai"\nendpoint = "http://host/v1"\n[tiers.request]\ntop_k = 1\n'
    assert parse_cascade(as_a_table).tiers[1].request == {"top_k": 1}


@pytest.mark.parametrize(
    ("request_", "fault"),
    [
        ("{ stream = true }", "tiers[0].request.stream is True: one whole answer is asked for"),
        ("7", "tiers[0].request is 7: an object is expected"),
        ("{ at = 2026-01-01T00:00:00Z }", "tiers[0].request.at is"),
        ("{ a = nan }", "tiers[0].request.a is nan: a finite number"),
        ("{ chat_template_kwargs = 1 }", "tiers[0].request.chat_template_kwargs is 1: a table is expected"),
    ],
)
def test_a_request_that_cannot_be_sent_is_told_with_its_place(request_: str, fault: str) -> None:
    line = next(line for line in WITH_REQUEST.splitlines() if line.startswith("request"))
    assert fault in faults_of(WITH_REQUEST.replace(line, f"request = {request_}"))
    assert "your own gateway runs this tier" in faults_of(SMALLEST + "request = { top_k = 1 }")


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ('certified_parameters = ["n"]', "gateway.certified_parameters is 'n': name a request's parameter"),
        ('certified_parameters = ["seed", ""]', "gateway.certified_parameters is '': name a request's parameter"),
        ('certified_parameters = ["seed", "seed"]', "['seed', 'seed']: name every parameter once"),
        ('ignore = ["messages"]', "gateway.ignore is 'messages': name a request's parameter"),
        ('ignore = ["a", "b"]\ncertified_parameters = ["c", "b"]', "gateway.ignore is 'b': it is among certified_"),
        ("ignore = true", "gateway.ignore is True: a list is expected"),
        ("ignored = []", "gateway.ignored is []: this key is not known; did you mean ignore?"),
    ],
)
def test_parameters_that_a_gateway_cannot_let_through_are_refused(line: str, fault: str) -> None:
    assert fault in faults_of(f"{SMALLEST}[gateway]\n{line}\n")


def test_what_a_gateway_lets_through_is_read_and_written_again() -> None:
    text = f'{SMALLEST}[gateway]\ncertified_parameters = ["response_format", "messages.image_url"]\nignore = ["n"]\n'
    spec = parse_cascade(text)
    assert spec.gateway.certified_parameters == ("response_format", "messages.image_url")
    assert spec.gateway.ignore == ("n",) and parse_cascade(format_cascade(spec)) == spec
    assert parse_cascade(SMALLEST).gateway.ignore == ()


def test_steps_of_a_rollout_are_read_as_shares_and_written_out_again() -> None:
    spec = parse_cascade(f"{SMALLEST}\n[promotion]\nsteps = [0, 0.05, 1]\nleast = 50\n")
    assert (spec.promotion.steps, spec.promotion.least) == ((0.0, 0.05, 1.0), 50)
    assert parse_cascade(format_cascade(spec)) == spec
    assert parse_cascade(SMALLEST).promotion.steps == ()


ALERTS_PAGE = DOCS.parent / "alerts.md"


def test_the_documented_receivers_are_taken_and_written_back() -> None:
    (example,) = re.findall(r"```toml\n(.*?)```", ALERTS_PAGE.read_text(), re.S)
    spec = parse_cascade(SMALLEST + example)
    assert [(one.name, one.kind.value, one.severity.value) for one in spec.receivers] == [
        ("alertmanager", "alertmanager", "warning"),
        ("team", "apprise", "warning"),
        ("pager", "apprise", "critical"),
        ("ticketing", "webhook", "warning"),
    ]
    assert parse_cascade(format_cascade(spec)) == spec


@pytest.mark.parametrize(
    ("said", "fault"),
    [
        ('url = "mailto://me:hunter2@mail"', "receivers[0].url is (not shown)"),
        ('url = "slack://hunter2/x y"', "an address of Apprise is expected"),
        (
            'url = "json://h"\nurl_variable = "HUNTER2"',
            "receivers[0].url_variable is '(not shown)': give either url, or",
        ),
        ("", "receivers[0].url is missing: give either url, or url_variable"),
        ('url_variable = "slack://hunter2"', "name an environment variable, e.g. SLACK_URL"),
        ('url = "json://h"\nseverity = "panic"', "receivers[0].severity is 'panic'"),
        ('url = "json://h"\nhears = ["alerts", "alerts"]', "name each once"),
        ('url = "json://h"\nurls = "hunter2"', "did you mean url?"),
    ],
)
def test_a_receiver_that_could_not_be_told_is_refused_without_its_address(said: str, fault: str) -> None:
    faults = faults_of(f'{SMALLEST}[[receivers]]\nname = "chat"\nkind = "apprise"\n{said}\n')
    assert fault in faults
    assert "hunter2" not in faults or "urls" in said


@pytest.mark.parametrize(
    ("kind", "url", "fault"),
    [
        ("alertmanager", "http://h?hunter2", "receivers[0].url is 'http://h/…'"),
        ("alertmanager", "http://169.254.169.254", "metadata service"),
        ("webhook", "http://h/x#hunter2", "what follows a # is sent nowhere"),
        ("webhook", "slack://h/hunter2", "receivers[0].url is"),
        ("pigeon", "http://h/hunter2", "receivers[0].kind is 'pigeon'"),
    ],
)
def test_a_receivers_address_fits_its_kind(kind: str, url: str, fault: str) -> None:
    faults = faults_of(f'{SMALLEST}[[receivers]]\nname = "there"\nkind = "{kind}"\nurl = "{url}"\n')
    assert fault in faults and "hunter2" not in faults


def test_receivers_have_a_name_each_and_alertmanager_hears_no_moves() -> None:
    one = '[[receivers]]\nname = "there"\nkind = "alertmanager"\nurl = "http://h"\n'
    assert "every receiver has a name of its own" in faults_of(SMALLEST + one + one)
    assert "it hears alerts alone" in faults_of(SMALLEST + one + 'hears = ["moves"]\n')


def test_of_receivers_no_more_is_shown_than_where_they_are() -> None:
    said = (("chat", "apprise", "json://h/hunter2"), ("hook", "webhook", "https://h/hunter2?x=hunter2"))
    tables = "".join(f'[[receivers]]\nname = "{name}"\nkind = "{kind}"\nurl = "{url}"\n' for name, kind, url in said)
    shown = format_cascade(without_secrets(parse_cascade(SMALLEST + tables)))
    assert "hunter2" not in shown and "json://…" in shown and "https://h/…" in shown
    assert faults_of(shown).count("this is how an address is shown") == 2
