"""Where a follower looks: a control plane over HTTP, or a folder that something else keeps up to
date.

Both answer the same questions (what is assigned, what is in this bundle, did you hear what became
of it, and which models are declared), so a follower does not know which it has.
"""

import hashlib
from pathlib import Path
from typing import Protocol

from knowgate._bundles import folder
from knowgate._bundles.folder import BundleFile
from knowgate._shipping.client import Acknowledgement, Client, Fetched
from knowgate.errors import ServiceUnreachable


class Source(Protocol):
    """What a follower polls. All may raise ServiceUnreachable."""

    def assignment(self, cascade: str, etag: str | None = None) -> Fetched | None:
        """The assignment's JSON; None when it is still the one of `etag`."""

    def bundle_file(self, bundle_id: str) -> BundleFile:
        """A bundle, unverified."""

    def acknowledge(self, cascade: str, acknowledgement: Acknowledgement) -> None:
        """Tells the source what became of an assignment."""

    def models(self, cascade: str) -> tuple[str, ...]:
        """The tiers' models as the cascade is declared, cheapest first; empty = the source does not
        know.
        """


class ServiceSource:
    """A control plane."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def assignment(self, cascade: str, etag: str | None = None) -> Fetched | None:
        return self._client.assignment(cascade, etag)

    def bundle_file(self, bundle_id: str) -> BundleFile:
        fetched = self._client.bundle(bundle_id)
        return BundleFile(content=fetched.content, signature=fetched.signature)

    def acknowledge(self, cascade: str, acknowledgement: Acknowledgement) -> None:
        self._client.acknowledge(cascade, acknowledgement)

    def models(self, cascade: str) -> tuple[str, ...]:
        return tuple(tier.named_model for tier in self._client.cascade_spec(cascade).tiers)


class FolderSource:
    """A folder in the layout of `knowgate._bundles.folder`. It is read again when its inode, size
    or time of change differ.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen: tuple[tuple[int, int, int], str] | None = None  # the file's state, and its content's hash

    def assignment(self, cascade: str, etag: str | None = None) -> Fetched | None:
        path = self._path / folder.ASSIGNMENT_NAME
        try:
            status = path.stat()
            state = (status.st_ino, status.st_size, status.st_mtime_ns)
            if etag is not None and self._seen == (state, etag):
                return None
            content = path.read_bytes()
        except OSError as error:
            raise ServiceUnreachable(
                f"{path} cannot be read ({error.strerror}); publish an assignment there"
            ) from error
        digest = hashlib.sha256(content).hexdigest()
        self._seen = (state, digest)
        return None if digest == etag else Fetched(content=content, etag=digest, signature=None)

    def bundle_file(self, bundle_id: str) -> BundleFile:
        return folder.read_bundle_file(self._path, bundle_id)

    def acknowledge(self, cascade: str, acknowledgement: Acknowledgement) -> None:
        """Nobody listens behind a folder."""

    def models(self, cascade: str) -> tuple[str, ...]:
        """A folder holds no declaration."""
        return ()
