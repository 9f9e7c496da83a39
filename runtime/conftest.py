"""Which examples in docstrings need an extra that may be missing."""

from importlib.util import find_spec

_FILES_OF = {
    "cryptography": ["knowgate/_bundles/signing.py"],
    "openai": [f"knowgate/backends/{name}.py" for name in ("endpoint", "openai", "sglang", "vllm")],
    "transformers": ["knowgate/backends/transformers.py"],
}
collect_ignore = [file for extra, files in _FILES_OF.items() if not find_spec(extra) for file in files]
