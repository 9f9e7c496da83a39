"""`knowgate audit`: why a query went where it went, and that nobody changed the record since."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated

import typer

from knowgate import Window
from knowgate._bundles.signing import public_key_of
from knowgate._wire import codec
from services.audit import explain as explaining
from services.audit import proofs
from services.audit.auditors_export import export_ledger
from services.audit.explain import find_decision, named_subject
from services.audit.head_export import newest_head, put_head
from services.audit.heads import read_head, verifier_key
from services.audit.keys import make_key
from services.audit.over_window import over_window
from services.audit.recorded import disclose
from services.audit.replay_stored import replay_decision, replay_window
from services.audit.verify import verify_ledger
from services.audit.witnesses import read_witness
from services.clock import SystemClock
from services.commands.explanation import explanation_lines, verification_lines, what_if_lines
from services.commands.options import FORMATS, AsJson, End, Start, aware
from services.commands.printing import print_fields, print_json, print_record
from services.database import database
from services.errors import InputInvalid, Refused
from services.promotion.bundle_files import read_named
from services.settings import operator, read_settings
from services.windows import EPOCH
from store.disclosures import Shown
from store.engine import reading
from store.releases.cascades import cascade_version

app = typer.Typer(help="Explain, replay, verify and prove what was decided.", no_args_is_help=True)

Proven = Annotated[
    str,
    typer.Argument(help="A decision's id or external id; or what names a row in the ledger, such as a bundle's id."),
]
UnderHead = Annotated[
    str | None, typer.Option("--head", help="An exported head to prove it under; left out, the newest.")
]
NamedDecision = Annotated[str, typer.Argument(help="A decision's id, or the user's own external id.")]
InCascade = Annotated[str | None, typer.Option("--cascade", help="Where an external id is looked for.")]


@app.command()
def explain(
    decision: NamedDecision,
    cascade: InCascade = None,
    bundle: Annotated[
        str | None, typer.Option(help="What this bundle would have done; left out, today's champion.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Why one query went where it went: signals, gates, thresholds, bundle, certificate, labels,
    replay, ledger; and where another bundle would have sent it.
    """
    settings = read_settings()
    with database(settings) as engine:
        with reading(engine) as session:
            instead = None if bundle is None else read_named(session, bundle)
            stored = explaining.find_decision(session, decision, cascade)
            explanation = explaining.explain(session, stored, instead=instead)
        disclose(engine, Shown.EXPLAINED, f"decision {stored.id}", by=operator(settings), now=SystemClock().now())
    if as_json:
        print_json(codec.encode(explanation))
    else:
        typer.echo("\n".join(explanation_lines(explanation)))
    if not explanation.replay.matches:
        raise Refused("the replay came out differently; see above")


@app.command("what-if")
def what_if(
    bundle: Annotated[str, typer.Argument(help="A bundle's id, the start of one, or a .safetensors file.")],
    days: Annotated[int, typer.Option(min=1, max=366, help="Over the decisions of so many days.")] = 7,
    until: End = None,
    as_json: AsJson = False,
) -> None:
    """What a bundle would have done with the decisions of the last days: the share it keeps, what
    it saves, by how much accuracy would change, and which routes.
    """
    end = aware(until) or SystemClock().now()
    window = Window(start=end - timedelta(days=days), end=end)
    with database(read_settings()) as engine:
        with reading(engine) as session:
            other = read_named(session, bundle)
        found = over_window(engine, other, window, now=SystemClock().now())
    if as_json:
        print_json(codec.encode(found))
    else:
        typer.echo("\n".join(what_if_lines(found)))


@app.command()
def replay(
    decision: Annotated[str | None, typer.Argument(help="One decision; left out, all of the cascade's.")] = None,
    cascade: InCascade = None,
    since: Start = None,
    until: End = None,
    as_json: AsJson = False,
) -> None:
    """Decide stored decisions again, from their signals and from their vectors. Exits with 3 on a
    mismatch.
    """
    with database(read_settings()) as engine, reading(engine) as session:
        if decision is not None:
            result = replay_decision(session, find_decision(session, decision, cascade))
            print_record(result, as_json=as_json)
            mismatches = len(result.mismatches)
        elif cascade is not None:
            cascade_version(session, cascade)
            window = Window(start=aware(since) or EPOCH, end=aware(until) or datetime.max.replace(tzinfo=UTC))
            count = replay_window(session, cascade, window)
            print_record(count, as_json=as_json)
            mismatches = count.mismatches
        else:
            raise InputInvalid("nothing to replay: give a decision, or --cascade for all of its decisions")
    if mismatches:
        raise Refused(f"{mismatches} mismatches: see above")


@app.command()
def verify(
    head: Annotated[
        str | None, typer.Option(help="An exported head, a file or an fsspec URL, that the database must lead to.")
    ] = None,
    public_key: Annotated[
        str | None,
        typer.Option(help="Whose signature the head must carry, in hex; by default that of the signing key."),
    ] = None,
    witness: Annotated[
        list[str] | None,
        typer.Option(help="Who must have signed it too, by a verifier key; by default all of KNOWGATE_WITNESS_KEYS."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Check the whole ledger: chain, roots, leaves, and every row against its leaf. Exits with 3 on
    any problem.
    """
    if (public_key is not None or witness) and head is None:
        raise InputInvalid("--public-key and --witness are whose signature a head must carry: give --head too")
    settings = read_settings()
    exported = None if head is None else read_head(head)
    if exported is not None and public_key is None and settings.signing_key is not None:
        public_key = public_key_of(settings.signing_key)
    witnesses = [read_witness(written) for written in witness or settings.witness_keys]
    with database(settings) as engine, reading(engine) as session:
        verification = verify_ledger(session, head=exported, public_key=public_key, witnesses=witnesses)
    if as_json:
        print_json(codec.encode(verification))
    else:
        typer.echo("\n".join(verification_lines(verification)))
        if exported is not None and public_key is None:
            typer.echo("the head's signature was not checked: give --public-key", err=True)
    if not verification.verified:
        raise Refused("the ledger does not verify: see the problems above")


@app.command()
def head(
    out: Annotated[str | None, typer.Option(help="Write it to this file or fsspec URL instead.")] = None,
) -> None:
    """Print the ledger's signed head: what all batches sealed so far lead to, for `audit verify
    --head`.
    """
    settings = read_settings()
    with database(settings) as engine, reading(engine) as session:
        made = newest_head(session, settings)
    if out is None:
        typer.echo(made.note, nl=False)
    else:
        put_head(made, out)


@app.command()
def prove(subject: Proven, cascade: InCascade = None, under: UnderHead = None) -> None:
    """Print the proof that the ledger states this, as JSON: the leaves and the paths to a signed
    head. deploy/audit/verify_ledger.py checks it without a database.
    """
    settings = read_settings()
    with database(settings) as engine:
        with reading(engine) as session:
            chosen = newest_head(session, settings) if under is None else read_head(under)
            proof = proofs.prove(session, named_subject(session, subject, cascade), chosen)
        disclose(engine, Shown.PROVEN, proof.subject, by=operator(settings), now=SystemClock().now())
    print_json(codec.encode(proof))


@app.command()
def consistency(
    older: Annotated[str, typer.Argument(help="A head that you kept: a file or an fsspec URL.")],
    newer: Annotated[str | None, typer.Argument(help="A later one; left out, the newest.")] = None,
) -> None:
    """Print the proof that one head grew out of another, as JSON: nothing that the older one was
    signed over was changed or cut off since.
    """
    settings = read_settings()
    with database(settings) as engine, reading(engine) as session:
        later = newest_head(session, settings) if newer is None else read_head(newer)
        print_json(codec.encode(proofs.prove_consistency(session, read_head(older), later)))


@app.command()
def export(
    out: Annotated[Path, typer.Option(help="A new folder.")],
    start: Annotated[
        datetime | None, typer.Option("--from", formats=FORMATS, help="What was sealed from this time on.")
    ] = None,
    end: Annotated[
        datetime | None, typer.Option("--to", formats=FORMATS, help="What was sealed before this time.")
    ] = None,
    under: UnderHead = None,
    as_json: AsJson = False,
) -> None:
    """Write all that the ledger states of a period into a folder, with its proof and a signed head,
    for an auditor: deploy/audit/verify_ledger.py verifies it without a database.
    """
    settings, now = read_settings(), SystemClock().now()
    window = Window(start=aware(start) or EPOCH, end=aware(end) or now)
    said = f"the ledger from {window.start:%Y-%m-%d %H:%M} to {window.end:%Y-%m-%d %H:%M} UTC"
    with database(settings) as engine:
        disclose(engine, Shown.EXPORTED, said, by=operator(settings), now=now)
        with reading(engine) as session:
            chosen = newest_head(session, settings) if under is None else read_head(under)
            manifest = export_ledger(session, window, chosen, out, now=now)
    first, last = manifest.batches
    print_fields(as_json=as_json, batches=f"{first} to {last}", leaves=manifest.leaves, withheld=manifest.withheld)


@app.command()
def key(
    out: Annotated[
        Path | None, typer.Argument(help="Where to put a new private key: a file that is not there.")
    ] = None,
) -> None:
    """Make the key that signs bundles and heads. It goes into a file that its owner alone can read
    and is shown nowhere. Without a file: show the public key in force.
    """
    settings = read_settings()
    if out is None and settings.signing_key is None:
        raise InputInvalid("KNOWGATE_SIGNING_KEY is not set: `knowgate audit key FILE` makes one")
    public = public_key_of(str(settings.signing_key)) if out is None else make_key(out)
    typer.echo(f"public key    {public}\nverifier key  {verifier_key(public)}")
    if out is not None:
        typer.echo(f"the private key is in {out}: set KNOWGATE_SIGNING_KEY_FILE to it, and keep a copy elsewhere")
