"""A tier that shows no hidden states gets its probe from another model's."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sqlalchemy import Engine

from knowgate._bundles.bundle import read_bundle
from knowgate.policy import PolicyKind
from knowgate.spec import CascadeSpec, Privacy, Targets, TierSpec
from store.engine import reading
from store.releases.bundles import bundle_content, bundles
from tests.training.reading import states_of
from training.__main__ import main
from training.errors import ExtractionRefused, TrainingError
from training.extraction import MEAN, encoder_of

START = datetime(2026, 3, 1, tzinfo=UTC)


@pytest.fixture
def folder(tmp_path: Path, model_of: Callable[[str], Any], tokenizer_of_letters: Callable[..., Any]) -> Path:
    """A model on disk; its head is not what an encoder needs."""
    model_of("llama").model.save_pretrained(tmp_path / "encoder")
    tokenizer_of_letters("right").save_pretrained(tmp_path / "encoder")
    return tmp_path / "encoder"


def test_a_state_is_the_mean_over_the_prompts_own_tokens(folder: Path) -> None:
    encoder = encoder_of(folder, layers=[0, 3])
    apart = [states_of(encoder, [prompt]).hidden[0] for prompt in ("ab", "abcdef", "z")]
    together = states_of(encoder, ["ab", "abcdef", "z"])
    assert together.hidden.shape == (3, 2, 16)
    np.testing.assert_allclose(together.hidden, np.stack(apart), atol=5e-5)  # padding counts for nothing
    letters = states_of(encoder, ["a", "b", "ab"]).hidden[:, 0]
    np.testing.assert_allclose(letters[2], (letters[0] + letters[1]) / 2, atol=1e-6)


def test_the_fingerprint_names_the_encoder_and_its_layers(folder: Path) -> None:
    encoder = encoder_of(folder, layers=[1, 3])
    assert [print.layer for print in encoder.fingerprints] == [1, 3]
    assert {(print.model, print.position) for print in encoder.fingerprints} == {(str(folder), MEAN)}
    assert len(encoder_of(folder).fingerprints) == 4  # every layer unless given


def test_what_cannot_be_read_is_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ExtractionRefused, match="layers 0 to 3"):
        encoder_of(folder, layers=[4])
    (tmp_path / "nothing").mkdir()
    with pytest.raises(TrainingError, match="could not be loaded"):
        encoder_of(tmp_path / "nothing")


def spec_with(encoder: Path) -> CascadeSpec:
    tiers = (
        TierSpec(name="small", model="black-box", parameters=1e9, encoder=str(encoder), layers=(2, 3)),
        TierSpec(name="large", model="large", parameters=1e10),
    )
    targets = Targets(rule=PolicyKind.SCORE, value=0.05, delta=0.2)
    return CascadeSpec(name="facts", tiers=tiers, targets=targets, privacy=Privacy.FULL)


@pytest.mark.slow
def test_a_black_box_tier_is_trained_on_the_states_of_its_encoder(
    sqlite_engine: Engine, sqlite_url: str, folder: Path, store_letters: Callable[..., None]
) -> None:
    end, as_of = START + timedelta(days=1), START + timedelta(days=30)
    store_letters(sqlite_engine, spec_with(folder), START, end)
    times = [f"--start={START.isoformat()}", f"--end={end.isoformat()}", f"--as-of={as_of.isoformat()}"]
    assert main(["run", "--cascade=facts", *times, f"--database-url={sqlite_url}"]) == 0
    with reading(sqlite_engine) as session:
        (record,) = bundles(session, "facts")
        bundle = read_bundle(bundle_content(session, record.id))
    tier = bundle.document.tiers[0]
    assert tier is not None and tier.fingerprint in encoder_of(folder, layers=[2, 3]).fingerprints
    certificate = bundle.document.certificate
    assert certificate is not None and certificate.probe_auroc is not None and certificate.p_t_auroc is not None
    assert certificate.probe_auroc > certificate.p_t_auroc
    models = bundle.tiers[0]
    assert models is not None  # and the runtime reads an encoder's state as it reads any other
    state = states_of(encoder_of(folder, layers=[tier.fingerprint.layer]), ["aaaaaa:"]).hidden[0, 0]
    assert (models.signals(p_t=0.5, hidden=state, tokens_in=7).p_ik or 0.0) > 0.5
