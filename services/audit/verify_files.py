"""The files that days lie in, against their rows: each is there and hashes to what its row says."""

from sqlalchemy.orm import Session

from services.audit.findings import Findings
from store.days.day_files import all_files
from store.errors import ShardRefused
from store.shards.shards import verify_shard

_FILES = "files"


def check_files(session: Session, findings: Findings) -> None:
    """Reads every file of a day."""
    try:
        files = all_files(session)
    except (ValueError, TypeError, AttributeError, OverflowError) as error:
        findings.problem(_FILES, "day_file", "*", f"its rows cannot be read ({error})")
        return
    for file in files:
        findings.checked(_FILES, 1)
        try:
            what = None if verify_shard(file.url, file.sha256) else f"{file.url} is not there as it was written"
        except ShardRefused as error:
            what = str(error)
        if what is not None:
            findings.problem(_FILES, "day_file", f"{file.cascade}/{file.low}", what)
