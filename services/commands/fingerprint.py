"""`knowgate fingerprint`: what the hidden states of an engine are states of."""

from pathlib import Path
from typing import Annotated

import typer

from knowgate.backends.checked import checked_client
from knowgate.backends.factory import key_of
from services.commands.printing import print_record
from services.endpoints.asked import Endpoint
from services.endpoints.engines import served
from services.endpoints.fingerprints import Said, account_of, in_words
from services.errors import InputInvalid

app = typer.Typer()


@app.command()
def fingerprint(
    url: Annotated[str, typer.Argument(help="The API's root, e.g. http://host:8000/v1.")],
    model: Annotated[str | None, typer.Option(help="As requests name it, where the endpoint lists several.")] = None,
    layer: Annotated[
        int | None, typer.Option(min=0, help="Whose states are read: 0 is the embedding output, n that of block n.")
    ] = None,
    revision: Annotated[str | None, typer.Option(help="The commit of the weights.")] = None,
    dtype: Annotated[str | None, typer.Option(help="What the server computes in, e.g. bfloat16.")] = None,
    chat_template: Annotated[
        Path | None, typer.Option(help="The file of the chat template, where the engine does not show it.")
    ] = None,
    key_variable: Annotated[
        str | None, typer.Option(help="The environment variable that holds the endpoint's key (or …_FILE).")
    ] = None,
) -> None:
    """Print the fingerprint as JSON, for `knowgate gateway --fingerprint TIER=FILE`; on standard
    error what it covers.

    Exits with 3 for an engine that hands no hidden states out.
    """
    template = None if chat_template is None else _text_of(chat_template)
    said = Said(layer=layer, revision=revision, dtype=dtype, template=template)
    key = key_of(key_variable, "the endpoint")
    with checked_client() as client:
        account = account_of(served(Endpoint(url=url, client=client, key=key), model), said)
    for line in in_words(account):
        typer.echo(line, err=True)
    print_record(account.fingerprint, as_json=True)


def _text_of(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        fault = f"it cannot be read ({error}); check the path"
        raise InputInvalid(f"--chat-template is {str(path)!r}: {fault}") from None
