"""An old minor version is upgraded step by step by named functions, or refused by name."""

from typing import Any

import pytest

from knowgate._bundles.bundle_versions import FAMILY, SCHEMA, UPGRADES, minor_version, upgrade
from knowgate.errors import BundleRefused


def name_the_owner(document: dict[str, Any]) -> dict[str, Any]:
    return document | {"schema": f"{FAMILY}.1", "owner": "unknown"}


def rename_owner(document: dict[str, Any]) -> dict[str, Any]:
    kept = {name: value for name, value in document.items() if name != "owner"}
    return kept | {"schema": f"{FAMILY}.2", "holder": document["owner"]}


STEPS = {0: name_the_owner, 1: rename_owner}


def test_the_current_version_is_left_as_it_is() -> None:
    document = {"schema": SCHEMA, "cascade": "questions"}
    assert upgrade(document) == document


def test_an_old_version_goes_through_every_step() -> None:
    assert upgrade({"schema": FAMILY}, current=2, steps=STEPS) == {"schema": f"{FAMILY}.2", "holder": "unknown"}
    newer = {"schema": f"{FAMILY}.1", "owner": "team"}
    assert upgrade(newer, current=2, steps=STEPS) == {"schema": f"{FAMILY}.2", "holder": "team"}


def test_an_old_version_without_its_step_is_refused_by_name() -> None:
    with pytest.raises(BundleRefused, match=r"'knowgate.bundle.v1': minor version 0 can no longer be upgraded"):
        upgrade({"schema": FAMILY}, current=2, steps={1: rename_owner})


def test_a_newer_version_is_refused_by_name() -> None:
    with pytest.raises(BundleRefused, match=r"'knowgate.bundle.v1.9': it is newer than this runtime"):
        upgrade({"schema": f"{FAMILY}.9"})


@pytest.mark.parametrize(
    "schema",
    [None, 7, "", "knowgate.bundle", "knowgate.bundle.v1.", "knowgate.bundle.v1.x", "x"],
)
def test_what_names_no_version_is_refused(schema: object) -> None:
    with pytest.raises(BundleRefused, match="not a bundle"):
        minor_version(schema)


def test_another_major_version_is_refused() -> None:
    with pytest.raises(BundleRefused, match="major version"):
        minor_version("knowgate.bundle.v2.1")


def test_a_bundle_without_kinds_of_p_t_is_taken_to_be_of_the_first_token() -> None:
    old = {"schema": "knowgate.bundle.v1", "models": ["small", "middle", "large"]}
    assert upgrade(old) == old | {"schema": SCHEMA, "p_t_kinds": ["first_token", "first_token"]}
    assert [step.__name__ for step in UPGRADES.values()] == ["add_p_t_kinds"]
    with pytest.raises(BundleRefused, match="which has no p_t_kinds"):
        upgrade(old | {"p_t_kinds": ["mean", "mean"]})
