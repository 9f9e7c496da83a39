"""A first `cascade.toml`, from what endpoints were found to do, with a comment where its owner has
to decide.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import tomlkit

from knowgate.spec import CascadeSpec, PromiseKind
from services.declaration.cascade_file import parse_cascade
from services.endpoints.engines import Served
from services.endpoints.trial import Trial
from services.errors import InputInvalid

NAMES = ("small", "large")
_SIZE = re.compile(r"(?:(\d+)x)?(\d+(?:\.\d+)?)([bm])(?![a-z])", re.IGNORECASE)  # 8B, 135M, 8x7B
_MILLIONS = {"m": 1e6, "b": 1e9}

_HEAD = """\
# Written by `knowgate init` from what the endpoints answered. `knowgate cascade apply` puts it in force.
# Every key: docs/configuration.md.
name = {name}
exploration_rate = 0.05   # share of kept answers on which the last tier runs too, to learn
privacy = "hash"          # of prompts and answers keyed hashes are stored; "full" stores the texts
"""
_PRICES = (
    "# prices = [{ since = 2026-01-01T00:00:00Z, usd_per_million_tokens_in = 0.1, usd_per_million_tokens_out = 0.4 }]"
)
_TAIL = """
[targets]
kind = "max_accuracy_drop"
value = 0.02              # the promise: at most 2 points less accurate than always asking the last tier,
delta = 0.1               # with 90 % confidence
promise = "{promise}"
rule = "p_t"{rule}

[observe]
rate = 0.2                # share of queries on which the small model runs too, unseen, until one is certified

[horizons]                # how long labels may take: a decision counts once it is older
gold = "7d"
sources = ["gold"]        # whose labels are waited for: gold, human, judge, feedback
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tier:
    """One tier as it was found."""

    name: str
    url: str
    served: Served
    trial: Trial
    parameters: float
    guessed: bool  # its parameters, from its name
    key_variable: str | None = None
    options: Sequence[str] = field(default_factory=tuple)

    @property
    def backend(self) -> str:
        return self.served.engine if self.served.engine in ("vllm", "sglang") else "openai"


def parameters_of(served: Served, said: float | None) -> tuple[float, bool]:
    """A model's number of parameters, and whether that is a guess from its name. Raises
    InputInvalid.
    """
    known = said or served.parameters
    if known:
        return known, False
    size = _SIZE.search(served.model)
    if size is None:
        raise InputInvalid(
            f"{served.model!r} does not say how many parameters it has: say it for both tiers, e.g. --parameters 8e9 "
            "--parameters 70e9; a guess will do where it is secret, what is saved is shown in operations too"
        )
    experts, count, unit = size.groups()
    return int(experts or 1) * float(count) * _MILLIONS[unit.lower()], True


def cascade_text(name: str, tiers: Sequence[Tier]) -> tuple[str, CascadeSpec]:
    """The file's text, and the cascade that it declares. Raises CascadeFileInvalid, for a name that
    cannot be one above all.
    """
    rule = ' # with hidden states: "gates", "p_ik" or "score"' if tiers[0].trial.states else ""
    text = _HEAD.format(name=_toml(name))
    text += "".join(_tier_text(tier, first=not at) for at, tier in enumerate(tiers))
    text += _TAIL.format(promise=PromiseKind.ROLLING.value, rule=rule)
    return text, parse_cascade(text)


def _tier_text(tier: Tier, *, first: bool) -> str:
    served = tier.served
    size = "guessed from its name" if tier.guessed else "as it was said"
    lines = [
        "\n[[tiers]]" + "  # cheapest first; the last tier is what the cascade is measured against" * first,
        f"name = {_toml(tier.name)}",
        f"model = {_toml(served.model)}",
        f"parameters = {tier.parameters:g}  # {size}; a token costs 2 x parameters operations",
        f"backend = {_toml(tier.backend)}  # {_comment(' '.join((served.engine, served.version or '')).strip())}",
        f"endpoint = {_toml(tier.url)}",
    ]
    if tier.key_variable is not None:
        lines.append(f"api_key_variable = {_toml(tier.key_variable)}")
    if tier.options:
        lines += [f"options = {_toml(list(tier.options))}", 'p_t_kind = "option"']
    else:
        lines.append('p_t_kind = "first_token"  # for answers in sentences: "mean", over all tokens')
    context = "" if served.context is None else f"  # of a context of {served.context}"
    lines.append(f"max_tokens = {_max_tokens(served)}{context}")
    if tier.trial.request:
        lines.append(f"request = {_toml(tier.trial.request)}")
    if first and tier.trial.states:
        lines.append("# layers = [20]  # whose states are read; then `knowgate fingerprint`, and another rule below")
    return "\n".join((*lines, _PRICES)) + "\n"


def _max_tokens(served: Served) -> int:
    """256, or half of a context that is smaller than two answers."""
    return 256 if served.context is None else max(1, min(256, served.context // 2))


def _comment(text: str) -> str:
    return "".join(letter for letter in text if letter.isprintable())


def _toml(value: str | Sequence[str] | Mapping[str, object]) -> str:
    if isinstance(value, Mapping):
        table = tomlkit.inline_table()
        table.update(value)
        return table.as_string()
    return tomlkit.item(value).as_string()
