"""`knowgate bundle`: look at bundles, verify one, compare two."""

from typing import Annotated

import typer

from knowgate import read_bundle
from knowgate._bundles import signing
from knowgate._wire import codec
from knowgate.errors import BundleRefused
from services.commands.options import AsJson
from services.commands.printing import print_fields, print_json, print_record, print_rows
from services.database import database
from services.errors import Refused
from services.promotion.bundle_files import all_bundles, bundle_bytes, differences, read_named
from services.settings import read_settings
from store.engine import reading
from store.errors import BundleDamaged
from store.releases.bundles import bundle as stored_bundle

app = typer.Typer(help="Look at bundles, verify one, compare two.", no_args_is_help=True)

Named = Annotated[str, typer.Argument(help="An id, the start of one, or a .safetensors file.")]


@app.command()
def show(
    named: Annotated[
        str | None, typer.Argument(help="An id, the start of one, or a file; left out, all are listed.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Print what a bundle says about itself, or list all bundles."""
    with database(read_settings()) as engine, reading(engine) as session:
        if named is None:
            columns = ("id", "cascade", "status", "created_at")
            print_rows("bundles", all_bundles(session), as_json=as_json, columns=columns)
            return
        bundle = read_named(session, named)
    if as_json:
        print_json({"id": bundle.id, "document": codec.encode(bundle.document)})
    else:
        typer.echo(bundle.id)
        print_record(bundle.document, as_json=False)


@app.command()
def verify(
    named: Named,
    public_key: Annotated[str | None, typer.Option(help="Also check the signature: the public key in hex.")] = None,
    signature: Annotated[str | None, typer.Option(help="Of a file: its detached signature in hex.")] = None,
    as_json: AsJson = False,
) -> None:
    """Check a bundle as a runtime would: hash, document, tensors, signature. Exits with 3 when it
    is refused.
    """
    with database(read_settings()) as engine, reading(engine) as session:
        try:
            expected, content = bundle_bytes(session, named)
        except BundleDamaged as error:
            raise Refused(str(error)) from error
        if expected is not None and signature is None:
            signature = stored_bundle(session, expected).signature
    try:
        bundle = read_bundle(content, expected_id=expected)
        if public_key is not None:
            signing.require_signed_bundle(public_key, bundle.id, signature)
    except BundleRefused as error:
        raise Refused(str(error)) from error
    signed = None if public_key is None else True
    cascade = bundle.document.cascade
    print_fields(as_json=as_json, bundle=bundle.id, cascade=cascade, bytes=len(content), signed=signed)


@app.command()
def diff(first: Named, second: Named, as_json: AsJson = False) -> None:
    """Print where two bundles differ: documents key by key, tensors by their largest change."""
    with database(read_settings()) as engine, reading(engine) as session:
        changes = differences(read_named(session, first), read_named(session, second))
    print_rows("differences", changes, as_json=as_json, columns=("where", "first", "second"))
