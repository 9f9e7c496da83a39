"""Which examples in docstrings need an extra that may be missing."""

from importlib.util import find_spec

collect_ignore = [] if find_spec("cryptography") else ["knowgate/signing.py"]
