"""Making the key that signs bundles and heads."""

import os
from pathlib import Path

from knowgate._bundles.signing import new_key_pair
from services.errors import InputInvalid


def make_key(place: Path) -> str:
    """Put a fresh private key into a file that its owner alone can read; the public key. The
    private one is nowhere else. Raises InputInvalid, and never overwrites.
    """
    pair = new_key_pair()
    try:
        descriptor = os.open(place, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise InputInvalid(f"{place} is there already: a key is never overwritten; name another file") from None
    except OSError as error:
        raise InputInvalid(f"{place} cannot be written ({error.strerror}); name a file in a folder of yours") from None
    with os.fdopen(descriptor, "w") as file:
        file.write(f"{pair.private_key}\n")
    return pair.public_key
