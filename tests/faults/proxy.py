"""A door on loopback before a server: what passes is delayed, cut or changed, as it is set to."""

import random
import socket
import threading
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass

PIECE = 16384  # bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Trouble:
    """What becomes of each piece that passes: it waits up to `delay_s` seconds; with chance `cut`
    half of it passes, and then nothing more of its connection; with chance `flip` one of its bits
    is another.
    """

    delay_s: float = 0.0
    cut: float = 0.0
    flip: float = 0.0


NONE = Trouble()


class Proxy:
    """Before `target`, a port of loopback or the path of a Unix socket. `happened` counts what was
    done to what passed.
    """

    def __init__(self, target: int | str, *, seed: int) -> None:
        self.trouble = NONE
        self.happened: Counter[str] = Counter()
        self._target = target
        self._rng = random.Random(seed)
        self._server = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port: int = self._server.getsockname()[1]
        self._open: set[socket.socket] = set()
        self._serving = threading.Thread(target=self._serve, name="proxy", daemon=True)
        self._serving.start()

    def close(self) -> None:
        """Nobody is taken in any more, and whoever is connected is cut."""
        for one in (self._server, *self._open):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
        self._serving.join()

    def _serve(self) -> None:
        with self._server, suppress(OSError):  # of `accept`, once it is closed
            while True:
                caller, _ = self._server.accept()
                threading.Thread(target=self._connect, args=(caller,), daemon=True).start()

    def _connect(self, caller: socket.socket) -> None:
        """Both directions, until both have ended."""
        with caller, suppress(OSError), self._connected() as server:  # one that is away looks as without a proxy
            ends = {caller, server}
            self._open |= ends
            back = threading.Thread(target=self._pass_on, args=(server, caller), daemon=True)
            back.start()
            self._pass_on(caller, server)
            back.join()
            self._open -= ends

    def _connected(self) -> socket.socket:
        if isinstance(self._target, int):
            return socket.create_connection(("127.0.0.1", self._target))
        opened = socket.socket(socket.AF_UNIX)
        try:
            opened.connect(self._target)
        except OSError:
            opened.close()
            raise
        return opened

    def _pass_on(self, source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            while piece := source.recv(PIECE):
                passes, goes_on = self._troubled(piece)
                sink.sendall(passes)
                if not goes_on:
                    break
            else:
                sink.shutdown(socket.SHUT_WR)  # the other direction may go on
                return
        for end in (source, sink):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def _troubled(self, piece: bytes) -> tuple[bytes, bool]:
        """What passes of a piece, and whether its connection goes on."""
        trouble = self.trouble
        if trouble.delay_s:
            self.happened["delayed"] += 1
            time.sleep(self._rng.uniform(0.0, trouble.delay_s))
        if self._rng.random() < trouble.cut:
            self.happened["cut"] += 1
            return piece[: len(piece) // 2], False
        if self._rng.random() < trouble.flip:
            self.happened["flipped"] += 1
            changed = bytearray(piece)
            changed[self._rng.randrange(len(piece))] ^= 1 << self._rng.randrange(8)
            return bytes(changed), True
        return piece, True
