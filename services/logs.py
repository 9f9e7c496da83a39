"""What the long-running commands write to standard error: one format, and no secret of
an address.
"""

import logging

from knowgate._wire.shown import MaskingFormatter


def start_logging(level: str) -> None:
    """Every logger of this process writes there from now on, at least at `level`."""
    handler = logging.StreamHandler()
    handler.setFormatter(MaskingFormatter("%(asctime)s %(levelname)s %(name)s %(message)s"))
    logging.basicConfig(level=level.upper(), handlers=[handler])
    logging.getLogger("httpx2").setLevel(logging.WARNING)  # it would tell every address that is asked, in full
