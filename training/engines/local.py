"""Extraction in this process: the answerer's own model, one batch after the other."""

from training.engines.extraction import Work, joined, parts_of, tensors_of
from training.extract_parts import PartFolder, Tensors
from training.extraction import Answerer
from training.extraction.progress import Progress


class LocalExtraction:
    """The engine that needs nothing else."""

    def write_parts(self, answerer: Answerer, work: Work, folder: PartFolder, progress: Progress) -> None:
        """See ExtractionEngine. Raises ExtractionRefused."""
        for part in parts_of(answerer, work, work.part_prompts):
            done: list[Tensors] = []
            for batch in part:
                done.append(tensors_of(answerer, batch, states_only=work.states_only))
                progress.add(len(batch.rows), work.tokens_of(batch.rows))
            folder.write(joined(done))
