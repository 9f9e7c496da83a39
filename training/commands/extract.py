"""`python -m training extract`: hidden states of a file of prompts.

Options that make an Answerer are named after the fields of its recipe, which has their defaults
too.
"""

import argparse
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING

from knowgate._records.records import PTKind
from knowgate._wire import codec
from training.commands.engine_options import add_engine, chosen_cluster

if TYPE_CHECKING:
    from training.engines.extract_file import Extracted
    from training.engines.extraction import ExtractionEngine


def add_extract(extract: argparse.ArgumentParser) -> None:
    """The options of the command."""
    extract.set_defaults(command=extract_states)
    extract.add_argument(
        "--model",
        dest="source",
        required=True,
        metavar="MODEL",
        help="a folder in the Hugging Face layout, or a hub id",
    )
    extract.add_argument("--prompts", type=Path, required=True, help="Parquet, CSV or JSONL with query_id and prompt")
    extract.add_argument("--out", type=Path, required=True, help=".npz or .safetensors")
    extract.add_argument("--tier", type=int, default=0)
    _add_several(extract, "--layers", type=int, help="all when left out; 0 is the embedding output")
    _add_several(extract, "--options", help="the allowed answers, one token each")
    _add_several(
        extract,
        "--positions",
        help="last_prompt_token (when left out), last_prompt_token-K, first_token, mean_of_prompt",
    )
    extract.add_argument("--states-only", action="store_true", help="no answers and no P(T); an encoder has none")
    extract.add_argument("--tokens", type=int, help="padded tokens of a batch at most; by the device when left out")
    extract.add_argument("--batch", type=int, help="prompts of a batch at most")
    extract.add_argument(
        "--part-prompts", type=int, default=1024, help="prompts after which progress is safe from a kill"
    )
    extract.add_argument(
        "--parts-url",
        help="a folder or an fsspec URL that is to hold what is done so far; beside the result if left out",
    )
    add_engine(extract)
    extract.add_argument(
        "--p-t-kind",
        choices=[str(kind) for kind in PTKind],
        help="option (the default with --options), first_token (the default without) or mean",
    )
    extract.add_argument("--max-new-tokens", type=int, help="of an answer; 1 when left out")
    extract.add_argument(
        "--compile", dest="compiled", action="store_true", help="compile the model's blocks first; for long runs"
    )
    extract.add_argument("--normed", action="store_true", help="apply the final norm")
    extract.add_argument("--revision")
    extract.add_argument("--dtype", choices=["float32", "bfloat16", "float16"], help="float32 when left out")
    extract.add_argument("--device", help="a CUDA device where there is one, else cpu, when left out")


def _add_several(parser: argparse.ArgumentParser, name: str, *, help: str, type: Callable[[str], object] = str) -> None:
    """An option of several values: given at once or one by one, all of them count."""
    parser.add_argument(name, type=type, nargs="+", action="extend", help=f"{help}; several, or given repeatedly")


def extract_states(options: argparse.Namespace) -> "Extracted":
    """What was written."""
    from training.engines.extract_file import extract_file
    from training.engines.local import LocalExtraction
    from training.extraction.recipe import AnswererRecipe

    named = {field.name: getattr(options, field.name) for field in fields(AnswererRecipe)}
    recipe = codec.decode(AnswererRecipe, {name: value for name, value in named.items() if value is not None})
    engine: ExtractionEngine
    ray = chosen_cluster(options)
    if ray is None:
        engine, answerer = LocalExtraction(), recipe.make()
    else:
        from training.engines.ray_extraction import RayExtraction

        engine = cluster = RayExtraction(recipe, ray)
        answerer = cluster.planned()
    return extract_file(
        answerer,
        options.prompts,
        options.out,
        tier=options.tier,
        states_only=options.states_only,
        part_prompts=options.part_prompts,
        engine=engine,
        parts_url=options.parts_url,
    )
