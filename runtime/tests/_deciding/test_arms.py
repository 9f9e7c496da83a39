"""Which of two bundles decides a query: the same one whenever it is asked, and a larger share takes
the same prompts and more.
"""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conftest import KEY, make_pair, make_small_bundle
from factories import Kept
from knowgate._bundles.bundle import Bundle
from knowgate._deciding.exploration import coin_falls
from knowgate._deciding.privacy import SecretKey
from knowgate._deciding.ruling import bundle_for
from knowgate._records.ids import new_id
from knowgate._records.observation import Observation
from knowgate._records.records import Decision
from knowgate._serving.cascade import Cascade
from knowgate.spec import Privacy

CHAMPION, CHALLENGER = make_small_bundle(), make_small_bundle(p_t=0.99)
shares = st.floats(0.0, 1.0)


def arm(prompt_hash: str, share: float, key: bytes = KEY) -> Bundle | None:
    pair = make_pair(CHAMPION, CHALLENGER, share=share)
    return bundle_for(pair, SecretKey(key), new_id(), prompt_hash)


@given(prompt=st.text(), share=shares)
def test_a_prompt_is_decided_by_the_same_bundle_whichever_decision_and_process_it_comes_in(
    prompt: str, share: float
) -> None:
    assert len({arm(prompt, share) for _ in range(5)}) == 1


@given(prompts=st.lists(st.text(), min_size=1, max_size=50), first=shares, second=shares)
def test_a_larger_share_only_moves_prompts_from_the_champion_to_the_challenger(
    prompts: list[str], first: float, second: float
) -> None:
    smaller, larger = sorted((first, second))
    taken = {prompt for prompt in prompts if arm(prompt, smaller) is CHALLENGER}
    assert taken <= {prompt for prompt in prompts if arm(prompt, larger) is CHALLENGER}


@pytest.mark.parametrize(("share", "decides"), [(0.0, CHAMPION), (1.0, CHALLENGER)])
def test_no_share_is_nobodys_and_the_whole_is_everybodys(share: float, decides: Bundle) -> None:
    assert {arm(str(number), share) for number in range(200)} == {decides}


def test_the_share_of_the_prompts_is_the_one_asked_for_and_another_deployments_is_another() -> None:
    prompts = [str(number) for number in range(2000)]
    taken = {prompt for prompt in prompts if arm(prompt, 0.25) is CHALLENGER}
    assert 420 < len(taken) < 580  # four standard errors
    assert taken != {prompt for prompt in prompts if arm(prompt, 0.25, b"another deployment's") is CHALLENGER}


def asked(cascade: Cascade, prompt: str) -> Decision:
    with cascade.open(prompt=prompt) as query:
        query.attempt(Observation(p_t=0.98))
        query.attempt()
        return query.close()


@pytest.fixture
def cascade(kept: Kept) -> Callable[..., Cascade]:
    def made(**options: Any) -> Cascade:
        pair = make_pair(CHAMPION, CHALLENGER, share=0.5, exploration_rate=1.0)
        return Cascade("questions", pair, hash_key=KEY, spool=kept, **options)

    return made


@pytest.fixture
def kept() -> Kept:
    return Kept()


def test_a_question_asked_again_is_decided_alike_and_the_decision_says_by_which(
    cascade: Callable[..., Cascade],
) -> None:
    first, second = cascade(), cascade()
    decided = {prompt: asked(first, prompt).bundle for prompt in map(str, range(40))}
    assert set(decided.values()) == {CHAMPION.id, CHALLENGER.id}
    assert all(asked(second, prompt).bundle == bundle for prompt, bundle in decided.items())


def test_the_exploration_coin_falls_as_often_in_either_arm() -> None:
    pair, key = make_pair(CHAMPION, CHALLENGER, share=0.5, exploration_rate=0.3), SecretKey(KEY)
    fell: dict[Bundle | None, list[bool]] = {CHAMPION: [], CHALLENGER: []}
    for number in range(4000):
        decision_id = new_id()
        fell[bundle_for(pair, key, decision_id, str(number))].append(coin_falls(key, decision_id, 0.3))
        fell[bundle_for(pair, key, decision_id)].append(coin_falls(key, decision_id, 0.3))
    for drawn in fell.values():
        assert abs(sum(drawn) / len(drawn) - 0.3) < 0.04, "four standard errors"


def test_where_no_prompt_may_be_hashed_the_coin_is_the_decisions_own(cascade: Callable[..., Cascade]) -> None:
    private = cascade(privacy=Privacy.NEVER)
    assert len({asked(private, "the same").bundle for _ in range(40)}) == 2
