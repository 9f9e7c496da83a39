"""The socket of a server, bound before anything is said or started.

A port that is taken is the most common fault of a first start. Bound here, it is shown like every
other fault; a token that is shown once is not shown by a server that nobody will reach.
"""

import errno
import socket

from services.errors import ServicesError


class CannotListen(ServicesError):
    """The address of a server cannot be bound."""

    def __init__(self, name: str, value: object, why: str) -> None:
        super().__init__(f"{name} is {value}: {why}")


def listening(host: str, port: int, *, host_name: str, port_name: str) -> socket.socket:
    """A socket that listens at the address. `host_name` and `port_name` are what the user calls the
    two.

    Raises CannotListen.
    """
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
    except socket.gaierror as error:
        cure = f"this machine knows no such address ({error.strerror}); give one of its own, or 127.0.0.1"
        raise CannotListen(host_name, host, cure) from None
    try:
        return socket.create_server(address[:2], family=family, backlog=2048)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            cure = f"something listens there already (at {host}); end it, or choose another port"
            raise CannotListen(port_name, port, cure) from None
        if error.errno == errno.EACCES:
            cure = "this user must not open ports below 1024; choose another one, and put a proxy before it"
            raise CannotListen(port_name, port, cure) from None
        cure = f"it cannot be bound ({error.strerror}); give an address of this machine, or 127.0.0.1"
        raise CannotListen(host_name, host, cure) from None
