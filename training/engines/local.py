"""Extraction in this process: the answerer's own model, one batch after the other."""

from training.engines.extraction import Work, parts_of, write_part
from training.extraction import Answerer
from training.extraction.batches import Batch
from training.extraction.extract_parts import PartFolder
from training.extraction.progress import Progress


class LocalExtraction:
    """The engine that needs nothing else."""

    def write_parts(self, answerer: Answerer, work: Work, folder: PartFolder, progress: Progress) -> None:
        """See ExtractionEngine. Raises ExtractionRefused."""

        def tell(batch: Batch) -> None:
            progress.add(len(batch.rows), work.tokens_of(batch.rows))

        for part in parts_of(answerer, work, work.part_prompts):
            write_part(answerer, part, folder, states_only=work.states_only, tell=tell)
