"""One key hashes texts and throws coins; no use of it says anything about another."""

import numpy as np
import pytest

from knowgate._deciding.privacy import Purpose, SecretKey, StoredText, storable, stored_text
from knowgate._records.ids import new_id
from knowgate.errors import RecordInvalid
from knowgate.spec import Privacy


def test_equal_texts_have_equal_hashes_in_every_process_that_holds_the_key(key: bytes) -> None:
    first, second = SecretKey(key), SecretKey(key)
    assert first.text_hash(Purpose.PROMPT, "who?") == second.text_hash(Purpose.PROMPT, "who?")
    assert first.text_hash(Purpose.PROMPT, "who?") != SecretKey(key[::-1]).text_hash(Purpose.PROMPT, "who?")


def test_a_prompt_and_an_answer_of_the_same_text_have_different_hashes(key: bytes) -> None:
    assert SecretKey(key).text_hash(Purpose.PROMPT, "42") != SecretKey(key).text_hash(Purpose.ANSWER, "42")


def test_what_no_database_holds_is_replaced_and_the_rest_is_left_alone(key: bytes) -> None:
    assert storable("half \ud83d pair, \0, whole 😀\n") == "half \ufffd pair, \ufffd, whole 😀\n"
    assert len(SecretKey(key).text_hash(Purpose.PROMPT, "broken \ud83d emoji")) == 32


def test_coins_are_uniform_and_independent_between_purposes(key: bytes) -> None:
    secret, ids = SecretKey(key), [new_id() for _ in range(4000)]
    explored = np.array([secret.coin(Purpose.EXPLORATION, id) for id in ids])
    challenged = np.array([secret.coin(Purpose.CHALLENGER, id) for id in ids])
    counts = np.histogram(explored, bins=20, range=(0, 1))[0]
    assert ((counts - 200) ** 2 / 200).sum() < 50  # chi-squared on 19 degrees of freedom: 1e-4
    assert abs(np.corrcoef(explored, challenged)[0, 1]) < 0.065  # 4 standard errors
    assert explored.min() >= 0 and explored.max() < 1


def test_a_coin_is_the_same_whenever_it_is_thrown_again(key: bytes) -> None:
    decision_id = new_id()
    assert SecretKey(key).coin(Purpose.VECTOR, decision_id) == SecretKey(key).coin(Purpose.VECTOR, decision_id)


@pytest.mark.parametrize("length", [0, 15, 65])
def test_a_key_that_is_too_short_or_too_long_is_refused_without_being_shown(length: int) -> None:
    with pytest.raises(RecordInvalid, match=f"hash_key is '{length} bytes'"):
        SecretKey(b"x" * length)


def test_without_a_key_nothing_is_hashed_because_other_processes_would_hash_otherwise() -> None:
    with pytest.raises(RecordInvalid, match="hash_key"):
        SecretKey().text_hash(Purpose.PROMPT, "who?")


def test_the_key_is_not_in_its_repr(key: bytes) -> None:
    assert key.decode() not in repr(SecretKey(key))


def test_privacy_says_what_is_kept_of_a_text(key: bytes) -> None:
    secret = SecretKey(key)
    hashed = secret.text_hash(Purpose.PROMPT, "who?")

    def kept(privacy: Privacy) -> StoredText:
        return stored_text("who?", privacy=privacy, key=secret, purpose=Purpose.PROMPT)

    assert kept(Privacy.NEVER) == StoredText()
    assert kept(Privacy.HASH) == StoredText(hash=hashed)
    assert kept(Privacy.FULL) == StoredText(text="who?", hash=hashed)
