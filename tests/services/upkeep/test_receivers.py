"""A receiver that could not hear is found before an alert needs it."""

import importlib.util
from dataclasses import replace

import pytest

from knowgate._records.receivers import Receiver, ReceiverKind
from services.declaration.cascade_file import parse_cascade
from services.upkeep.receivers import unheard
from tests.services.conftest import CASCADE


def test_a_missing_variable_and_a_missing_library_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    mail = Receiver(name="mail", kind=ReceiverKind.APPRISE, url_variable="MAIL_URL")
    hook = Receiver(name="hook", kind=ReceiverKind.WEBHOOK, url_variable="HOOK_URL")
    spec = replace(parse_cascade(CASCADE), webhooks=(), receivers=(mail, hook))
    assert unheard(spec) == tuple(
        f"receiver {name}: set {variable}, or {variable}_FILE, in the environment"
        for name, variable in (("mail", "MAIL_URL"), ("hook", "HOOK_URL"))
    )
    monkeypatch.setenv("MAIL_URL", "mailtos://me:pw@example.com")
    monkeypatch.setenv("HOOK_URL", "https://hooks.example.com/x")
    assert unheard(spec) == ()
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    (found,) = unheard(spec)
    assert found.startswith("receiver mail: the library Apprise is not installed")
