"""How the processes of a run meet: all connect to process 0, which tells them the port of jax's own service.

Messages are lines of JSON. A stranger who connects is not answered.
"""

import contextlib
import json
import socket
import sys
import time
from typing import Any

from inpaint_ssl.errors import InputError
from inpaint_ssl.machines.place import Place

_RETRY_SECONDS = 0.2
_PATIENCE_SECONDS = 10.0  # after which a process says for whom it is waiting
_CHECK = "start every process with the same command but for config.distributed.process"


def is_loopback(host: str) -> bool:
    """True for addresses of this machine alone."""
    return host in ("localhost", "127.0.0.1", "::1")


def gather(place: Place, timeout_s: float) -> tuple[dict[int, socket.socket], int]:
    """Process 0: connections to all others by index, and the free port that they were told. InputError by a timeout."""
    found: dict[int, socket.socket] = {}
    deadline, told = time.monotonic() + timeout_s, time.monotonic() + _PATIENCE_SECONDS
    with _listen(place) as server:
        server.settimeout(_RETRY_SECONDS)
        while len(found) < place.count - 1:
            missing = ", ".join(str(i) for i in range(1, place.count) if i not in found)
            if time.monotonic() > deadline:
                raise InputError(
                    f"config.distributed.coordinator: of {place.count} processes these did not come to "
                    f"{place.host}:{place.port} within {timeout_s:.0f} s: {missing}; {_CHECK}, and see whether a "
                    "firewall closes that port"
                )
            if time.monotonic() > told:
                told = deadline
                print(f"waiting at {place.host}:{place.port} for processes: {missing}", file=sys.stderr, flush=True)
            with contextlib.suppress(TimeoutError):
                connection = server.accept()[0]
                index = _welcome(connection, place, found)
                if index:
                    found[index] = connection
        jax_port = _free_port(place)
    for connection in found.values():
        send(connection, ["port", jax_port])
    return found, jax_port


def reach(place: Place, timeout_s: float) -> tuple[socket.socket, int]:
    """Any other process: its connection to process 0, and the port of jax's service there. InputError by a timeout."""
    deadline, told = time.monotonic() + timeout_s, time.monotonic() + _PATIENCE_SECONDS
    while True:
        try:
            connection = socket.create_connection((place.host, place.port), timeout=2.0)
            connection.settimeout(max(1.0, deadline - time.monotonic()))
            send(connection, ["hello", place.count, place.index])
            name, value = receive(connection)
            if name == "port":
                connection.settimeout(None)
                return connection, value
            raise InputError(str(value))
        except (OSError, ValueError) as error:
            if isinstance(error, InputError):
                raise
            if time.monotonic() > deadline:
                reason = " ".join(str(error).split()) or type(error).__name__
                raise InputError(
                    f"config.distributed.coordinator: process 0 cannot be reached at {place.host}:{place.port} or did "
                    f"not find all processes within {timeout_s:.0f} s ({reason}); {_CHECK}, and see whether the "
                    "address is that of process 0 and a firewall closes the port"
                ) from error
        if time.monotonic() > told:
            told = deadline
            print(f"waiting for process 0 at {place.host}:{place.port}", file=sys.stderr, flush=True)
        time.sleep(_RETRY_SECONDS)


def send(connection: socket.socket, message: list[Any]) -> None:
    """One message; OSError when the other end is gone."""
    connection.sendall(json.dumps(message).encode() + b"\n")


def receive(connection: socket.socket) -> list[Any]:
    """The next message, byte by byte so that nothing behind it is read; OSError or ValueError when there is none."""
    line = b""
    while not line.endswith(b"\n"):
        byte = connection.recv(1)
        if not byte or len(line) > 1000:
            raise OSError("the connection was closed")
        line += byte
    message = json.loads(line)
    if not isinstance(message, list) or not message:
        raise ValueError("not a message")
    return message


def _listen(place: Place) -> socket.socket:
    try:
        if is_loopback(place.host):
            return socket.create_server(("127.0.0.1", place.port))
        if socket.has_dualstack_ipv6():
            return socket.create_server(("", place.port), family=socket.AF_INET6, dualstack_ipv6=True)
        return socket.create_server(("", place.port))
    except OSError as error:
        raise InputError(
            f"config.distributed.coordinator: port {place.port} of this machine, where process 0 runs, cannot be used "
            f"({error.strerror or error}); give another one"
        ) from error


def _free_port(place: Place) -> int:
    with socket.create_server(("127.0.0.1" if is_loopback(place.host) else "", 0)) as probe:
        return int(probe.getsockname()[1])


def _welcome(connection: socket.socket, place: Place, found: dict[int, socket.socket]) -> int:
    """The index of the process that connected, 0 for a stranger. InputError, on both sides, when it does not fit."""
    try:
        connection.settimeout(2.0)
        hello, count, index = receive(connection)
        if hello != "hello" or not isinstance(index, int) or (count == place.count and not 0 < index < count):
            raise ValueError
    except (OSError, ValueError):
        connection.close()
        return 0
    problem = ""
    if count != place.count:
        problem = f"config.distributed.processes: process {index} says {count} and process 0 {place.count}"
    elif index in found:
        problem = f"config.distributed.process: two processes say that they are number {index}"
    if problem:
        for other in (connection, *found.values()):
            with contextlib.suppress(OSError):
                send(other, ["error", f"{problem}; {_CHECK}"])
        raise InputError(f"{problem}; {_CHECK}")
    connection.settimeout(None)
    return index
