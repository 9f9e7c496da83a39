"""Hidden states of one layer: ours beside the plain way and a good one, on the same prompts.

- plain: `AutoModelForCausalLM` with `output_hidden_states=True`, batches of 32 in the order of
  arrival.
- good: `AutoModel` without head and cache, sorted by length, batches of 32.
- ours: `training.extraction`, its defaults.

The three take turns batch by batch, so that a shared machine's weather is the same for all; a ratio
is one sum of seconds over the other. Peak memory is what the largest batch of each adds to the
process that holds the model, measured in a fresh process each. `ratio_compiled` is how much faster
ours is again with compiled blocks, once `compile_seconds` are spent. Where there is a GPU, an 8B
Llama shape in bfloat16 is read too: `mfu` is the share of this device's own large matrix product
that the work on real tokens reaches.
"""

import multiprocessing
import resource
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from benchmarks.shape import Figures, run, seconds_in_turn
from knowgate.backends.loading import LoadedModel, adopt
from training.extraction import Answerer

Vectors = npt.NDArray[np.float32]
Prompts = list[list[int]]
Steps = Iterator[tuple[list[int], Vectors]]  # places of prompts, and their vectors [n, d]
VOCABULARY, CONTEXT, MEDIAN, SPREAD, BATCH, THREADS = 32_000, 512, 75, 0.8, 32, 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    prompts: int
    blocks: int
    width: int
    layer: int


FULL = Shape(prompts=400, blocks=16, width=512, layer=12)
QUICK = Shape(prompts=96, blocks=8, width=128, layer=6)


def measure(quick: bool) -> Figures:
    shape = QUICK if quick else FULL
    torch.set_num_threads(THREADS)
    prompts = lengths_of_traffic(shape.prompts)
    network = llama(shape)
    answerer = Answerer(adopted(network), layers=[shape.layer])
    order = sorted(range(len(prompts)), key=lambda row: -len(prompts[row]))
    sorted_batches = [order[at : at + BATCH] for at in range(0, len(order), BATCH)]
    ways: dict[str, Callable[[], Steps]] = {
        "plain": lambda: plain(network, prompts, arrival(len(prompts)), shape.layer),
        "good": lambda: good(network, prompts, sorted_batches, shape.layer),
        "ours": lambda: ours(answerer, prompts),
    }
    for way in ways.values():
        next(way())  # warm: allocations, kernels, what is tried once per model
    seconds, cpu_seconds, vectors = in_turn(list(ways.values()), prompts)
    taken, busy = dict(zip(ways, seconds, strict=True)), dict(zip(ways, cpu_seconds, strict=True))
    tokens = sum(map(len, prompts))
    figures: dict[str, float | int | str | None] = {
        "ratio_vs_plain": taken["plain"] / taken["ours"],
        "ratio_vs_good": taken["good"] / taken["ours"],
        "cpu_ratio_vs_plain": busy["plain"] / busy["ours"],
        "cpu_ratio_vs_good": busy["good"] / busy["ours"],
        "max_difference": float(max(np.abs(vectors[0] - other).max() for other in vectors[1:])),
        "prompts": len(prompts),
        "tokens": tokens,
        "median_tokens": float(np.median([len(prompt) for prompt in prompts])),
    }
    for name, spent in taken.items():
        figures[f"tokens_per_s_{name}"] = tokens / spent
    for name in ways:
        figures[f"peak_mb_{name}"] = peak_mb(name, shape)
    return figures | compiled_figures(network, prompts[: shape.prompts // 4], shape.layer) | gpu_figures(quick)


def compiled_figures(network: Any, prompts: Prompts, layer: int) -> dict[str, float | int | str | None]:
    """What `compiled=True` costs at first, and how much faster it is from then on."""
    usual, compiled = (Answerer(adopted(network), layers=[layer], compiled=on) for on in (False, True))
    began = time.perf_counter()
    list(compiled.read(prompts))
    first = time.perf_counter() - began
    ours, theirs = seconds_in_turn([lambda: list(usual.read(prompts)), lambda: list(compiled.read(prompts))], rounds=3)
    return {"compile_seconds": first - theirs, "ratio_compiled": ours / theirs}


def plain(network: Any, prompts: Prompts, batches: Sequence[list[int]], layer: int) -> Steps:
    for rows in batches:
        inputs = padded([prompts[row] for row in rows])
        with torch.inference_mode():
            output = network(**inputs, output_hidden_states=True)
        yield rows, last_tokens(output.hidden_states[layer], inputs["attention_mask"])


def good(network: Any, prompts: Prompts, batches: Sequence[list[int]], layer: int) -> Steps:
    for rows in batches:
        inputs = padded([prompts[row] for row in rows])
        with torch.inference_mode():
            output = network.model(**inputs, output_hidden_states=True, use_cache=False)
        yield rows, last_tokens(output.hidden_states[layer], inputs["attention_mask"])


def ours(answerer: Answerer, prompts: Prompts) -> Steps:
    for states in answerer.read(prompts):
        yield list(states.rows), states.hidden[:, 0]


def in_turn(ways: Sequence[Callable[[], Steps]], prompts: Prompts) -> tuple[list[float], list[float], list[Vectors]]:
    """Each way's seconds by the clock and of the processor, and vectors [prompts, d]; the furthest
    behind goes next.
    """
    running = [way() for way in ways]
    seconds, cpu_seconds, done = [0.0] * len(ways), [0.0] * len(ways), [0] * len(ways)
    vectors: list[Vectors | None] = [None] * len(ways)
    total = sum(map(len, prompts))
    while min(done) < total:
        at = done.index(min(done))
        began, cpu_began = time.perf_counter(), time.process_time()
        rows, some = next(running[at])
        seconds[at] += time.perf_counter() - began
        cpu_seconds[at] += time.process_time() - cpu_began
        layer_vectors = vectors[at]
        if layer_vectors is None:
            layer_vectors = vectors[at] = np.empty((len(prompts), some.shape[1]), dtype=np.float32)
        layer_vectors[rows] = some
        done[at] += sum(len(prompts[row]) for row in rows)
    return seconds, cpu_seconds, [layer_vectors for layer_vectors in vectors if layer_vectors is not None]


def lengths_of_traffic(count: int, seed: int = 0) -> Prompts:
    """Prompts of random tokens with log-normal lengths."""
    random = np.random.default_rng(seed)
    lengths = np.clip(np.round(random.lognormal(np.log(MEDIAN), SPREAD, count)), 4, CONTEXT).astype(int)
    return [random.integers(3, VOCABULARY, length).tolist() for length in lengths]


def arrival(count: int) -> list[list[int]]:
    return [list(range(at, min(count, at + BATCH))) for at in range(0, count, BATCH)]


def llama(shape: Shape) -> LlamaForCausalLM:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=shape.width,
        intermediate_size=shape.width * 11 // 4,
        num_hidden_layers=shape.blocks,
        num_attention_heads=shape.width // 64,
        num_key_value_heads=shape.width // 64,
        max_position_embeddings=CONTEXT,
    )
    network: LlamaForCausalLM = LlamaForCausalLM(config).eval()
    return network


def adopted(network: Any) -> LoadedModel:
    from tokenizers import Tokenizer, models

    tokenizer = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.WordLevel(vocab={"?": 0}, unk_token="?")))
    return adopt(network, tokenizer, model="random", revision="0")


def padded(prompts: Prompts) -> dict[str, torch.Tensor]:
    width = max(map(len, prompts))
    ids = torch.zeros((len(prompts), width), dtype=torch.long)
    mask = torch.zeros_like(ids)
    for at, prompt in enumerate(prompts):
        ids[at, : len(prompt)], mask[at, : len(prompt)] = torch.tensor(prompt), 1
    return {"input_ids": ids, "attention_mask": mask}


def last_tokens(hidden: torch.Tensor, mask: torch.Tensor) -> Vectors:
    vectors: Vectors = hidden[torch.arange(len(hidden)), mask.sum(1) - 1].numpy()
    return vectors


def peak_mb(way: str, shape: Shape) -> float:
    """What the largest batch of a way adds to the memory of a fresh process, in MB."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_peak_mb, (way, shape))


def _peak_mb(way: str, shape: Shape) -> float:
    torch.set_num_threads(THREADS)
    prompts, network = lengths_of_traffic(shape.prompts), llama(shape)
    batches = arrival(len(prompts))
    widest = max(batches, key=lambda rows: max(len(prompts[row]) for row in rows))
    longest = sorted(range(len(prompts)), key=lambda row: -len(prompts[row]))[:BATCH]
    answerer = Answerer(adopted(network), layers=[shape.layer])
    next(ours(answerer, [[5] * 6]))
    with resident() as peak:
        before = peak()
        if way == "plain":
            next(plain(network, prompts, [widest], shape.layer))
        elif way == "good":
            next(good(network, prompts, [longest], shape.layer))
        else:
            next(ours(answerer, prompts))
        return (peak() - before) / 1e6


@contextmanager
def resident() -> Iterator[Callable[[], int]]:
    """The largest number of bytes that this process held since the block began, looked at every 5
    ms.
    """
    largest, done = [0], threading.Event()
    statm = Path("/proc/self/statm")

    def look() -> int:
        largest[0] = max(largest[0], int(statm.read_text(encoding="ascii").split()[1]) * resource.getpagesize())
        return largest[0]

    def watch() -> None:
        while not done.wait(0.005):
            look()

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield look
    finally:
        done.set()
        watcher.join()


def gpu_figures(quick: bool) -> dict[str, float | int | str | None]:
    """tokens/s and `mfu` of an 8B Llama shape in bfloat16; `mfu` is None without a GPU."""
    if not torch.cuda.is_available():
        return {"mfu": None}
    layer = 20
    config = LlamaConfig(
        vocab_size=128_256,
        hidden_size=4096,
        intermediate_size=14_336,
        num_hidden_layers=32,
        num_attention_heads=32,
        num_key_value_heads=8,
        max_position_embeddings=8192,
    )
    with torch.device("cuda"):
        torch.set_default_dtype(torch.bfloat16)
        try:
            network = LlamaForCausalLM(config).eval()
        finally:
            torch.set_default_dtype(torch.float32)
    answerer = Answerer(adopted(network), layers=[layer])
    prompts = lengths_of_traffic(512 if quick else 4096)
    list(answerer.read(prompts[:256]))
    torch.cuda.synchronize()
    began = time.perf_counter()
    list(answerer.read(prompts))
    spent = time.perf_counter() - began
    tokens = sum(map(len, prompts))
    return {
        "mfu": work(network, prompts, layer) / spent / matrix_limit(),
        "gpu": torch.cuda.get_device_name(),
        "gpu_tokens_per_s": tokens / spent,
        "gpu_peak_gb": torch.cuda.max_memory_allocated() / 1e9,
    }


def work(network: Any, prompts: Prompts, layer: int) -> float:
    """The operations that the states need: matrix products of real tokens, causal attention; the
    topmost block's feed-forward part only for the last token.
    """
    block = network.model.layers[0]
    weights = sum(int(weight.numel()) for weight in block.parameters() if weight.ndim == 2)
    narrow = sum(int(weight.numel()) for weight in block.mlp.parameters()) + int(block.self_attn.o_proj.weight.numel())
    tokens = sum(map(len, prompts))
    attention = sum(2.0 * len(prompt) ** 2 for prompt in prompts) * int(network.config.hidden_size)
    return 2.0 * tokens * (weights * layer - narrow) + 2.0 * len(prompts) * narrow + attention * layer


def matrix_limit(side: int = 8192, rounds: int = 20) -> float:
    """Operations per second of a large bfloat16 matrix product on this GPU."""
    a, b = (torch.randn(side, side, device="cuda", dtype=torch.bfloat16) for _ in range(2))
    for _ in range(3):
        torch.mm(a, b)
    torch.cuda.synchronize()
    began = time.perf_counter()
    for _ in range(rounds):
        torch.mm(a, b)
    torch.cuda.synchronize()
    return 2.0 * side**3 * rounds / (time.perf_counter() - began)


if __name__ == "__main__":
    run("extract", measure)
