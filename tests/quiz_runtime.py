"""A runtime as a process of its own: `python -m tests.quiz_runtime URL CASCADE FOLDER`, with
KNOWGATE_TOKEN and KNOWGATE_HASH_KEY.

It follows the control plane, decides queries, ships them, and says of every answer whether it was
right. The large model is always right. The small one is right where it is sure; while FOLDER holds
a file named `broken`, it is mostly wrong, and as sure as ever.
"""

import os
import random
import signal
import sys
import time
from pathlib import Path

from knowgate import Cascade, Client, Labels, Observation, Shipper, Spool

EVERY_S = 0.1
SURE = 0.3  # from this P(T) on the small model is right
RIGHT = ("Austen", 1.0)


def asked(tier: int, rng: random.Random, broken: bool) -> tuple[Observation, bool]:
    """What a model answers, and whether that is right."""
    if tier == 1:
        return Observation(answer="Austen", p_t=0.99, tokens_in=12, tokens_out=1), True
    p_t = rng.random()
    right = rng.random() < 0.2 if broken else p_t >= SURE or rng.random() < 0.3
    return Observation(answer="Austen" if right else "Eliot", p_t=p_t, tokens_in=12, tokens_out=1), right


def serve(cascade: Cascade, gold: Labels, folder: Path) -> None:
    """Asks and answers until the process is ended."""
    rng, number = random.Random(20260305), 0
    while True:
        number += 1
        said: dict[int, bool] = {}
        broken = (folder / "broken").exists()
        with cascade.open(prompt=f"question {number}", external_id=f"q-{number}") as query:
            retained = False
            while not retained:
                tier = query.next_tier
                shown, said[tier] = asked(tier, rng, broken)
                retained = query.attempt(shown, tier=tier).retained or tier == 1
            while query.explore:
                tier = query.next_tier
                shown, said[tier] = asked(tier, rng, broken)
                query.attempt(shown, tier=tier)
        for tier, right in said.items():
            gold.add(right, decision_id=query.decision_id, tier=tier, label_propensity=1.0)
        time.sleep(EVERY_S)


def main(url: str, name: str, folder: Path) -> None:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    token, key = os.environ["KNOWGATE_TOKEN"], os.environ["KNOWGATE_HASH_KEY"].encode()
    decisions, labels = (Spool(folder / name, max_bytes=10**9, durable=False) for name in ("decisions", "labels"))
    cache = folder / "cache"
    cascade = Cascade.watch(url, cascade=name, token=token, cache=cache, interval_s=1.0, hash_key=key, spool=decisions)
    client = Client(url, token)
    with decisions, labels, Shipper(decisions, client), Shipper(labels, client), cascade:
        serve(cascade, Labels(labels, name, source="gold"), folder)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], Path(sys.argv[3]))
