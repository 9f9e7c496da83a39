"""Grading by a model: an OpenAI-compatible endpoint is shown the prompt and the answer, and says
RIGHT or WRONG.

A grader errs, so its labels have a source of their own and never pass for gold; how often it errs
is measured on the answers that gold or human labels speak of too, and `knowgate labels estimate`
corrects its figures by them. A reply that is neither word is no verdict. Replies are asked for at
temperature 0, which makes most of them repeatable and none of them right.
"""

import hashlib
import re
from dataclasses import dataclass, field
from pathlib import Path

import httpx2

from knowgate.spec import Privacy
from services.errors import GraderFailed, InputInvalid, Refused
from services.labelling.candidates import Candidate

TEMPLATE = """Question:
{prompt}

Proposed answer:
{answer}

Is the proposed answer correct? Reply with one word: RIGHT or WRONG."""
VERDICTS = {"RIGHT": 1.0, "CORRECT": 1.0, "YES": 1.0, "WRONG": 0.0, "INCORRECT": 0.0, "NO": 0.0}
TRIES = 3
MAX_TOKENS = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class LlmGrader:
    """A grader at `endpoint`, the address that `/chat/completions` is appended to."""

    endpoint: str
    model: str
    client: httpx2.Client
    template: str = TEMPLATE
    api_key: str | None = field(default=None, repr=False)

    @property
    def name(self) -> str:
        """What its labels say made them: the model, and a hash of all that decides its verdicts but
        the model itself.

        >>> LlmGrader(endpoint="http://a/v1", model="m", client=httpx2.Client()).name
        'm@e89877aeb168'
        """
        decides = "\x00".join((self.endpoint.rstrip("/"), self.template, str(MAX_TOKENS)))
        return f"{self.model[:150]}@{hashlib.sha256(decides.encode()).hexdigest()[:12]}"

    def grade(self, candidate: Candidate) -> float | None:
        """1 or 0 as the grader's first verdict word says; None without a prompt, an answer or a
        verdict.
        """
        if candidate.prompt is None or candidate.answer is None:
            return None
        return verdict_of(self._ask(filled(self.template, candidate.prompt, candidate.answer)))

    def _ask(self, text: str) -> str:
        body = {
            "model": self.model,
            "messages": [{"role": "user", "content": text}],
            "temperature": 0,
            "max_tokens": MAX_TOKENS,
        }
        headers = {} if self.api_key is None else {"Authorization": f"Bearer {self.api_key}"}
        address = self.endpoint.rstrip("/") + "/chat/completions"
        response = self._post(address, body, headers)
        try:
            content = response.json()["choices"][0]["message"]["content"]
        except RecursionError:
            return ""  # nested beyond reading: a whim of the model's rather than another service, so one verdict less
        except (ValueError, KeyError, IndexError, TypeError) as error:
            raise GraderFailed(
                f"{address} did not answer with a chat completion ({error!r}); check --endpoint"
            ) from error
        return str(content or "")

    def _post(self, address: str, body: object, headers: dict[str, str]) -> httpx2.Response:
        """The answer, after up to three tries where the service is busy or away."""
        for left in reversed(range(TRIES)):
            try:
                response = self.client.post(address, json=body, headers=headers)
            except httpx2.HTTPError as error:
                if not left:
                    raise GraderFailed(
                        f"{address} cannot be reached ({error}); check --endpoint and the network"
                    ) from error
                continue
            if response.is_success:
                return response
            if not left or (response.status_code < 500 and response.status_code != 429):
                reply = response.text[:200]
                raise GraderFailed(f"{address} answered {response.status_code}: {reply}; check --model and the API key")
        raise AssertionError("the last try returns or raises")


def filled(template: str, prompt: str, answer: str) -> str:
    """The template with its two fields filled in; braces in the texts mean nothing.

    >>> filled("{prompt} -> {answer}", "a {answer}?", "b")
    'a {answer}? -> b'
    """
    texts = {"{prompt}": prompt, "{answer}": answer}
    return re.sub(r"\{prompt\}|\{answer\}", lambda match: texts[match.group()], template)


def verdict_of(reply: str) -> float | None:
    """The first verdict word of a reply.

    >>> verdict_of("**Right.**"), verdict_of("INCORRECT"), verdict_of("I cannot say")
    (1.0, 0.0, None)
    """
    for word in re.findall(r"[A-Za-z]+", reply):
        if word.upper() in VERDICTS:
            return VERDICTS[word.upper()]
    return None


def read_template(path: Path | None) -> str:
    """The template of a file, or the usual one. Raises InputInvalid where it lacks a field."""
    if path is None:
        return TEMPLATE
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputInvalid(f"--template {path} cannot be read ({error}); check the path") from None
    missing = [name for name in ("{prompt}", "{answer}") if name not in text]
    if missing:
        raise InputInvalid(f"--template {path} lacks {' and '.join(missing)}; a grader must see both")
    return text


def refuse_unreadable(privacy: Privacy) -> None:
    """Raises Refused where the cascade does not keep the texts that a grader reads."""
    if privacy is not Privacy.FULL:
        raise Refused(f'a grader reads prompts and answers in full; this cascade keeps privacy = "{privacy.value}"')
