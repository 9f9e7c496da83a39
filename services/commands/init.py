"""`knowgate init`: a first cascade.toml, from what your endpoints can do."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, TypeVar

import typer

from knowgate.backends.checked import checked_client
from knowgate.backends.factory import key_of
from services.commands.options import require_folder
from services.endpoints.asked import Endpoint
from services.endpoints.engines import served
from services.endpoints.first_file import NAMES, Tier, cascade_text, parameters_of
from services.endpoints.trial import tried
from services.endpoints.words import found_in_words
from services.errors import InputInvalid

T = TypeVar("T")

app = typer.Typer()


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What the command line says of one tier."""

    name: str
    model: str | None
    parameters: float | None
    key_variable: str | None


@app.command()
def init(
    cascade: Annotated[str, typer.Argument(metavar="NAME", help="The cascade's name.")],
    endpoint: Annotated[
        list[str],
        typer.Argument(help="The API's root of the small model and of the large one; one, where it serves both."),
    ],
    model: Annotated[
        list[str] | None, typer.Option(help="As requests name them, small and large, where an endpoint lists several.")
    ] = None,
    parameters: Annotated[
        list[float] | None, typer.Option(help="How many each has, small and large, where nothing tells.")
    ] = None,
    key_variable: Annotated[
        list[str] | None,
        typer.Option(help="The environment variables that hold the endpoints' keys; '' for one without."),
    ] = None,
    option: Annotated[
        list[str] | None, typer.Option(help="The text of an allowed answer, where they are known; repeat it.")
    ] = None,
    out: Annotated[Path, typer.Option(help="Where to write.")] = Path("cascade.toml"),
) -> None:
    """Ask the endpoints what they can do, say what that means, and write a cascade.toml that
    `knowgate cascade apply` takes as it is.

    Each is asked a few short questions. A file that exists is never overwritten.
    """
    require_folder(out, "--out")
    if out.exists():
        raise InputInvalid(f"--out is {out}: that file is there; give another name, or remove it")
    if len(endpoint) > len(NAMES):
        raise InputInvalid(f"{len(endpoint)} endpoints are given: one or two are expected; add tiers to the file later")
    urls = endpoint * 2 if len(endpoint) == 1 else endpoint
    models, sizes = _each("--model", model), _each("--parameters", parameters)
    keys = _each("--key-variable", key_variable)
    if len(endpoint) == 1 and models[0] == models[1]:
        raise InputInvalid("one endpoint is given: name its two models, --model SMALL --model LARGE")
    with checked_client() as client:
        tiers = [
            _found(
                Endpoint(url=urls[at], client=client, key=key_of(keys[at] or None, name)),
                Asked(name=name, model=models[at] or None, parameters=sizes[at], key_variable=keys[at] or None),
                tuple(option or ()),
            )
            for at, name in enumerate(NAMES)
        ]
    text, spec = cascade_text(cascade, tiers)
    for line in found_in_words(tiers, spec):
        typer.echo(line)
    with out.open("x", encoding="utf-8") as file:
        file.write(text)
    typer.echo(f"{out} is written: read its comments, then `knowgate cascade apply {out}`")


def _each(option: str, given: list[T] | None) -> tuple[T | None, T | None]:
    """What was said of the small and of the large one. Raises InputInvalid."""
    if not given:
        return None, None
    if len(given) != len(NAMES):
        raise InputInvalid(f"{option} is given {len(given)} times: give it for the small and for the large model")
    return given[0], given[1]


def _found(endpoint: Endpoint, asked: Asked, options: tuple[str, ...]) -> Tier:
    """One tier, as its endpoint answers."""
    found = served(endpoint, asked.model)
    parameters, guessed = parameters_of(found, asked.parameters)
    return Tier(
        name=asked.name,
        url=endpoint.url,
        served=found,
        trial=tried(endpoint, found, options),
        parameters=parameters,
        guessed=guessed,
        key_variable=asked.key_variable,
        options=options,
    )
