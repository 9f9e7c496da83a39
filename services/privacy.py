"""What is kept of prompts and answers that arrive in full.

A runtime hashes before it ships; a gateway in another language may send plain text. Where the
cascade keeps hashes alone, the text is replaced here by its keyed hash, before it comes near the
database. The key of these hashes is the deployment's.
"""

import os
import re
import secrets
from dataclasses import replace
from operator import is_

from knowgate._deciding.privacy import Purpose, SecretKey, stored_text
from knowgate._records.records import Attempt, Decision
from knowgate.spec import Privacy
from services.settings import Settings

_HASH = re.compile(r"[0-9a-f]{32}")  # what SecretKey.text_hash makes: hashed before it was sent


def kept(decision: Decision, privacy: Privacy, key: SecretKey) -> Decision:
    """The decision with as much of its texts as `privacy` lets be stored."""
    prompt = stored_text(decision.prompt, privacy=privacy, key=key, purpose=Purpose.PROMPT)
    given = None if privacy is Privacy.NEVER else decision.prompt_hash
    attempts = tuple(_kept_attempt(attempt, privacy, key) for attempt in decision.attempts)
    if (
        decision.prompt is None
        and (given or None) == decision.prompt_hash
        and all(map(is_, attempts, decision.attempts))
    ):
        return decision  # to make one anew is to check it anew
    return replace(decision, prompt=prompt.text, prompt_hash=given or prompt.hash, attempts=attempts)


def _kept_attempt(attempt: Attempt, privacy: Privacy, key: SecretKey) -> Attempt:
    if attempt.answer is None or (privacy is Privacy.HASH and _HASH.fullmatch(attempt.answer)):
        return attempt
    answer = stored_text(attempt.answer, privacy=privacy, key=key, purpose=Purpose.ANSWER)
    return replace(attempt, answer=answer.text or answer.hash)


def hash_key(settings: Settings) -> bytes:
    """The key of prompt hashes: as set, or one made on first use and kept in the data folder,
    readable by its owner.
    """
    if settings.hash_key is not None:
        return settings.hash_key
    path = settings.data_dir / "hash.key"
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f"hash.key.{os.getpid()}")
    if not path.exists():
        # Linked into place whole: of two processes that start at once, both read the one that came
        # first.
        fresh.touch(mode=0o600)
        fresh.write_text(secrets.token_hex(32))
        try:
            os.link(fresh, path)
        except FileExistsError:
            pass
        finally:
            fresh.unlink()
    return path.read_text().strip().encode()
