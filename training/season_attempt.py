"""One attempt under the promise of a season: the decisions since the last attempt are counted with
the season's own models, or a new season begins (`training.certification.seasons`).

The counters are those that were stored with the last attempt, and are stored with this one in the
transaction that publishes it: a trainer that is killed and repeated counts no decision twice and
leaves none out.
"""

import logging
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np

from evidence.certification.nested_path import Signals, signals_of_rows
from evidence.certification.path import chain_paths
from knowgate._bundles.bundle import Bundle, ComparisonDocument, TierModels, read_bundle
from knowgate._records.arrays import BoolArray
from knowgate._records.records import Window
from knowgate._wire import codec
from knowgate.errors import BundleRefused
from knowgate.policy import PolicyKind
from knowgate.spec import PromiseKind
from store.engine import reading
from store.errors import BundleDamaged
from store.releases.bundles import bundle_content
from store.releases.seasons import SeasonRecord
from training.certification import seasons
from training.certification.certify import Certified, path_on
from training.certification.compare import signals_under
from training.certification.seasons import SeasonDocument
from training.publishing.attempt import Attempt, NothingToTest
from training.rows.dataset import CascadeRows
from training.rows.splits import Part, Split, certifying, split_untaught
from training.tiers.learn import LearnedTier
from training.window_run import Learned, ReadRows, WindowRun, compared, learn, read_rows

log = logging.getLogger("knowgate.training")


def attempt_of_season(run: WindowRun) -> Attempt | NothingToTest:
    """The season's next attempt, or the first of a new one."""
    going = _going(run)
    if going is not None:
        record, document, bundle = going
        if record.counted_until >= run.window.end:
            return NothingToTest()
        read = read_rows(run, Window(start=record.counted_until, end=run.window.end))
        if read.rows.n == 0:
            return NothingToTest(rows=read.rows)
        if seasons.same_states(bundle, read.vectors):
            return _next(run, read, record, document, bundle)
    return _first(run)


def _going(run: WindowRun) -> tuple[SeasonRecord, SeasonDocument, Bundle] | None:
    """The season that goes on, with the bundle whose models are its own."""
    record = run.state.season
    if record is None:
        return None
    try:
        with reading(run.engine) as session:
            bundle = read_bundle(bundle_content(session, record.bundle), expected_id=record.bundle)
    except (BundleDamaged, BundleRefused) as error:
        log.warning("%s: the models of season %d are lost, a new one begins: %s", record.cascade, record.number, error)
        return None
    document = codec.decode(SeasonDocument, codec.parse(record.document))
    on = seasons.goes_on(record, document, bundle, run.spec, end=run.window.end, alarm=run.state.alarm)
    return (record, document, bundle) if on else None


def _next(
    run: WindowRun, read: ReadRows, record: SeasonRecord, document: SeasonDocument, bundle: Bundle
) -> Attempt | NothingToTest:
    rows = read.rows
    which = np.ones(rows.n, dtype=np.bool_)
    if document.kind is not PolicyKind.P_T:
        which = certifying(rows.ids, rows.prompt_hashes, run.settings.proportions)
    signals = tuple(signals_under(bundle, rows, tier, stored) for tier, stored in enumerate(read.vectors))
    counted = _count(run, document, rows, signals, which)
    if counted is None:
        return NothingToTest(rows=rows)
    counters, certified = counted
    return _attempt(
        run,
        read,
        split=split_untaught(rows.ids, rows.prompt_hashes, which),
        signals=signals,
        models=bundle.tiers,
        learned=(None,) * run.spec.last,
        certified=certified,
        season=replace(record, attempt=run.state.attempt, counted_until=read.window.end, document=_written(counters)),
    )


def _first(run: WindowRun) -> Attempt | NothingToTest:
    read = read_rows(run, run.window)
    if read.rows.n == 0:
        return NothingToTest(rows=read.rows)
    learned = learn(run, read, reserved=True)
    counted = _begun(run, read.rows, learned)
    if counted is None:
        return NothingToTest(rows=read.rows)
    counters, certified = counted
    number = 1 if run.state.season is None else run.state.season.number + 1
    log.info("%s: season %d begins", run.spec.name, number)
    return _attempt(
        run,
        read,
        split=learned.split,
        signals=learned.signals,
        models=tuple(None if one is None else one.models for one in learned.tiers),
        learned=learned.tiers,
        certified=certified,
        season=SeasonRecord(
            cascade=run.spec.name,
            attempt=run.state.attempt,
            number=number,
            began_at=max(read.window.start, datetime.fromtimestamp(learned.split.since, UTC)),
            opened_at=read.window.end,
            counted_until=read.window.end,
            bundle="",  # the one that this attempt makes
            document=_written(counters),
        ),
    )


def _begun(run: WindowRun, rows: CascadeRows, learned: Learned) -> tuple[SeasonDocument, Certified] | None:
    """A new season after its first rows; None where it has no path, or no outcome is known."""
    kind, split = learned.kind, learned.split
    which = rows.seconds >= split.since if kind is PolicyKind.P_T else split.rows(Part.CERTIFICATION)
    counting = signals_of_rows(learned.signals, which)
    paths = (
        chain_paths(kind, counting)
        if kind is PolicyKind.P_T
        else [path_on(rows, split, learned.signals, run.targets, kind)]
    )
    document = seasons.begin(kind, run.targets, paths, rows.take(which), counting)
    return None if document is None else _count(run, document, rows, learned.signals, which)


def _attempt(
    run: WindowRun,
    read: ReadRows,
    *,
    split: Split,
    signals: tuple[Signals, ...],
    models: tuple[TierModels | None, ...],
    learned: tuple[LearnedTier | None, ...],
    certified: Certified,
    season: SeasonRecord,
) -> Attempt:
    return Attempt(
        spec=run.spec,
        number=run.state.attempt,
        as_of=run.as_of,
        read=read.window,
        rows=read.rows,
        split=split,
        signals=signals,
        models=models,
        learned=learned,
        certified=certified,
        champion=run.state.champion,
        comparison=_compared(run, read, certified, season.number),
        season=season,
    )


def _count(
    run: WindowRun, document: SeasonDocument, rows: CascadeRows, signals: tuple[Signals, ...], which: BoolArray
) -> tuple[SeasonDocument, Certified] | None:
    return seasons.count(document, rows.take(which), signals_of_rows(signals, which), run.targets)


def _compared(run: WindowRun, read: ReadRows, certified: Certified, number: int) -> ComparisonDocument | None:
    """The comparison with the champion: the levels of one season hold together, and what another
    season or a period promised has ended.
    """
    comparison, champion = compared(run, read, certified), run.state.champion
    if comparison is None or champion is None or champion.document.certificate is None:
        return comparison
    before = champion.document.certificate
    ended = before.promise is PromiseKind.ROLLING or (before.season is not None and before.season.number != number)
    return replace(comparison, bolder=False, champion_ended=ended)


def _written(document: SeasonDocument) -> str:
    return codec.canonical(document).decode()
