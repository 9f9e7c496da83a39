"""Extraction on a Ray cluster: Ray Data `map_batches` over actors that each hold the model.

Decisions:
- The driver holds no weights. It tokenises, refuses what cannot be asked, and cuts the batches that
  one process would go through; an actor gets token ids. So batches, and with them vectors, do
  not depend on who computes them.
- Actors write the parts themselves and send back a receipt: no vector passes through the driver,
  and what is written is safe from the driver's death too. The folder of parts must be seen by all
  machines; an actor that does not see it says so before it loads anything.
- Each actor compares the fingerprints of what it loaded with the driver's plan: a node with other
  weights or another version of transformers refuses by name in place of mixing vectors.
- A task whose actor died is done again by another (Ray restarts the actor): it finds its part
  written, or writes it, under the same name. A part that kills whoever takes it up is given up
  after so many deaths.
- A refusal (a state that is not finite, a model of unknown structure) comes back as a receipt:
  repeating it is no help.
"""

import math
import os
import warnings
from collections.abc import Iterator
from dataclasses import replace
from types import ModuleType
from typing import Any

import pyarrow as pa

from knowgate._records.records import Fingerprint
from training.engines.choice import RaySettings
from training.engines.cluster import connected, refusal_of, refused
from training.engines.extraction import Work, parts_of, write_part
from training.errors import ExtractionRefused, TrainingError
from training.extraction import Answerer
from training.extraction.batches import Batch, pad
from training.extraction.extract_parts import PartFolder
from training.extraction.progress import Progress
from training.extraction.recipe import AnswererRecipe

PARTS_PER_WORKER = 4  # at least, where there are prompts enough: the last ones then end together
DEATHS_PER_PART = 5
_ITEM = pa.schema(
    [("rows", pa.list_(pa.list_(pa.int64()))), ("tokens", pa.list_(pa.list_(pa.list_(pa.int32()))))]
)  # per part: batches × prompts, batches × prompts × tokens


class RayExtraction:
    """The engine on a cluster. `recipe` is what its actors make their models of; see `planned` for
    the driver's own.
    """

    def __init__(self, recipe: AnswererRecipe, settings: RaySettings) -> None:
        on = ("cuda" if settings.gpus else "cpu") if recipe.device == "auto" else recipe.device
        self._recipe = replace(recipe, device=on)  # not what this machine has, but what the workers get
        self._settings = settings

    def planned(self) -> Answerer:
        """The answerer to give to `write_parts`: it has no weights. Raises what `load_model`
        raises.
        """
        return self._recipe.plan()

    def write_parts(self, answerer: Answerer, work: Work, folder: PartFolder, progress: Progress) -> None:
        """See ExtractionEngine. Raises EngineUnavailable, and what an actor refuses."""
        if not work.rows:
            return
        with connected(self._settings, "the extraction") as ray:
            for receipt in self._receipts(ray, answerer, work, folder):
                if receipt["refusal"] is not None:
                    raise refused(receipt["refusal"], receipt["kind"], receipt["row"])
                progress.add(receipt["prompts"], receipt["tokens"])

    def _receipts(
        self, ray: ModuleType, answerer: Answerer, work: Work, folder: PartFolder
    ) -> Iterator[dict[str, Any]]:
        settings = self._settings
        spread = math.ceil(len(work.rows) / (settings.workers * PARTS_PER_WORKER))
        size = max(1, min(work.part_prompts, spread))
        items = [item_of(part, work) for part in parts_of(answerer, work, size)]
        context = ray.data.DataContext.get_current()
        context.enable_progress_bars, context.print_on_execution_start = False, False
        with warnings.catch_warnings():
            # Bounded retries have no other spelling yet; without a bound, a part that kills its
            # actors never ends.
            warnings.filterwarnings("ignore", message="`ray_remote_args` is deprecated")
            dataset = ray.data.from_arrow(items).map_batches(
                PartReader,
                fn_constructor_kwargs={
                    "recipe": self._recipe,
                    "fingerprints": answerer.fingerprints,
                    "folder": folder,
                    "states_only": work.states_only,
                },
                batch_size=1,
                batch_format="pyarrow",
                compute=ray.data.ActorPoolStrategy(
                    size=min(settings.workers, len(items)), max_tasks_in_flight_per_actor=2
                ),
                num_cpus=settings.cpus,
                num_gpus=settings.gpus,
                max_restarts=-1,
                max_task_retries=DEATHS_PER_PART,
            )
        for receipts in dataset.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0):
            yield from receipts.to_pylist()


class PartReader:
    """One actor: a model, read and answering part by part."""

    def __init__(
        self,
        recipe: AnswererRecipe,
        fingerprints: tuple[Fingerprint, ...],
        folder: PartFolder,
        states_only: bool,
    ) -> None:
        self._folder, self._states_only = folder, states_only
        self._refusal: TrainingError | None = None  # an actor that raised here would only be started again
        try:
            folder.check()
            self._answerer = recipe.make()
            _compare(fingerprints, self._answerer.fingerprints)
        except TrainingError as error:
            self._refusal = error

    def __call__(self, items: pa.Table) -> pa.Table:
        return pa.Table.from_pylist([self._receipt(item) for item in items.to_pylist()], schema=_RECEIPT)

    def _receipt(self, item: dict[str, Any]) -> dict[str, Any]:
        try:
            if self._refusal is not None:
                raise self._refusal
            rows = [row for batch in item["rows"] for row in batch]
            if not self._folder.holds(rows):
                fill, left = self._answerer.loaded.pad_id, self._answerer.left
                batches = (
                    pad(tuple(some), tokens, fill, left)
                    for some, tokens in zip(item["rows"], item["tokens"], strict=True)
                )
                write_part(self._answerer, batches, self._folder, states_only=self._states_only)
        except TrainingError as error:
            return refusal_of(error)
        return {"prompts": len(rows), "tokens": sum(len(prompt) for batch in item["tokens"] for prompt in batch)}


_RECEIPT = pa.schema(
    [
        ("prompts", pa.int64()),
        ("tokens", pa.int64()),
        ("refusal", pa.string()),
        ("kind", pa.string()),
        ("row", pa.int64()),
    ]
)


def item_of(part: list[Batch], work: Work) -> pa.Table:
    """What an actor gets of one part, one row."""
    rows = [list(batch.rows) for batch in part]
    tokens = [[list(work.prompts[row]) for row in batch] for batch in rows]
    return pa.Table.from_pylist([{"rows": rows, "tokens": tokens}], schema=_ITEM)


def _compare(planned: tuple[Fingerprint, ...], loaded: tuple[Fingerprint, ...]) -> None:
    for wanted, other in zip(planned, loaded, strict=True):
        if wanted != other:
            differs = [name for name in Fingerprint.__slots__ if getattr(wanted, name) != getattr(other, name)]
            raise ExtractionRefused(
                f"node {os.uname().nodename} has another {differs[0]} of {wanted.model} "
                f"({getattr(other, differs[0])!r}, planned was {getattr(wanted, differs[0])!r}): give all nodes the "
                "same files and the same versions"
            )
