"""What is shown of an address names the place, and no secret."""

import logging

import pytest

from knowgate._wire.shown import MaskingFormatter, masked, shown_url

SECRETS = [
    "https://hooks.slack.com/services/T0/B0/hunter2",
    "https://me:hunter2@host:8443/x",
    "https://host?token=hunter2",
    "https://host/#hunter2",
    "http://hunter2@host",
    "postgresql+psycopg://me:hunter2@db/knowgate",
    "postgresql+psycopg://me:pa/hunter2@db/knowgate",
    "postgresql+psycopg://me:pa@hunter2@db/knowgate?connect_timeout=3",
    "postgresql+psycopg://db/knowgate?password=hunter2",
    "postgresql+psycopg://me:hunter2#x@db/knowgate",
    "s3://key:hunter2@bucket/prefix",
    "me:hunter2@db/knowgate",
]


@pytest.mark.parametrize("url", SECRETS)
def test_an_address_is_shown_without_its_secret(url: str) -> None:
    shown = shown_url(url)
    assert "hunter2" not in shown
    assert any(place in shown for place in ("host", "db", "hooks.slack.com", "bucket"))
    assert shown_url(shown) == shown


@pytest.mark.parametrize("url", ["sqlite:///var/a.db", "s3://bucket/prefix", "http://host:80", "http://host/", "var/x"])
def test_an_address_without_a_secret_is_shown_as_it_is(url: str) -> None:
    assert shown_url(url) == url


@pytest.mark.parametrize("url", [url for url in SECRETS if "://" in url and "services" not in url])
def test_texts_logs_and_tracebacks_show_no_secret_of_an_address(url: str) -> None:
    assert "hunter2" not in masked(f"no answer from {url}: try again, or ask at ({url})")
    try:
        raise ConnectionError(f"cannot reach '{url}'")
    except ConnectionError as error:
        info = (type(error), error, error.__traceback__)
    record = logging.LogRecord("x", logging.ERROR, __file__, 1, "failed at %s", (url,), info)
    line = MaskingFormatter("%(message)s").format(record)
    assert "hunter2" not in line and "Traceback" in line


def test_a_text_keeps_what_is_no_secret() -> None:
    text = "POST http://host:8000/v1/chat/completions got no answer; ask ops@example.com"
    assert masked(text) == text
