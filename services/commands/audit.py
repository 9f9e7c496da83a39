"""`knowgate audit`: why a query went where it went, and that nobody changed the record since."""

from datetime import UTC, datetime
from typing import Annotated

import typer

from knowgate import Window
from knowgate._bundles.signing import public_key_of
from knowgate._wire import codec
from services.audit import explain as explaining
from services.audit.explain import find_decision, proofs
from services.audit.head_export import put_head
from services.audit.heads import head_of, read_head
from services.audit.replay_stored import replay_decision, replay_window
from services.audit.verify import verify_ledger
from services.commands.explanation import explanation_lines, verification_lines
from services.commands.options import AsJson, End, Start, aware
from services.commands.printing import print_json, print_record
from services.database import database
from services.errors import InputInvalid, Refused
from services.settings import read_settings
from services.windows import EPOCH
from store.engine import reading
from store.ledger import ledger
from store.releases.cascades import cascade_version

app = typer.Typer(help="Explain, replay, verify and prove what was decided.", no_args_is_help=True)

NamedDecision = Annotated[str, typer.Argument(help="A decision's id, or the user's own external id.")]
InCascade = Annotated[str | None, typer.Option("--cascade", help="Where an external id is looked for.")]


@app.command()
def explain(decision: NamedDecision, cascade: InCascade = None, as_json: AsJson = False) -> None:
    """Why one query went where it went: signals, gates, thresholds, bundle, certificate, labels,
    replay, ledger.
    """
    with database(read_settings()) as engine, reading(engine) as session:
        explanation = explaining.explain(session, explaining.find_decision(session, decision, cascade))
    if as_json:
        print_json(codec.encode(explanation))
    else:
        typer.echo("\n".join(explanation_lines(explanation)))
    if not explanation.replay.matches:
        raise Refused("the replay came out differently; see above")


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
    as_json: AsJson = False,
) -> None:
    """Check the whole ledger: chain, roots, leaves, and every row against its leaf. Exits with 3 on
    any problem.
    """
    if public_key is not None and head is None:
        raise InputInvalid("--public-key is whose signature a head must carry: give --head too")
    settings = read_settings()
    exported = None if head is None else read_head(head)
    if exported is not None and public_key is None and settings.signing_key is not None:
        public_key = public_key_of(settings.signing_key)
    with database(settings) as engine, reading(engine) as session:
        verification = verify_ledger(session, head=exported, public_key=public_key)
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
        hashes = ledger.batch_hashes(session)
    if not hashes:
        raise Refused("nothing is sealed yet: the scheduler seals every ten minutes")
    made = head_of(hashes, settings.signing_key)
    if out is None:
        typer.echo(made.note, nl=False)
    else:
        put_head(made, out)


@app.command()
def export(decision: NamedDecision, cascade: InCascade = None) -> None:
    """Print the proof of one decision as JSON: its leaf, the path to the sealed root, the chain's
    link.
    """
    with database(read_settings()) as engine, reading(engine) as session:
        stored = find_decision(session, decision, cascade)
        print_json({"decision": codec.encode(stored), "proofs": codec.encode(proofs(session, str(stored.id)))})
