"""The processes of a run, once they have met: waiting for each other, agreeing, and ending together."""

import atexit
import contextlib
import ctypes
import os
import queue
import signal
import socket
import sys
import threading
import time
from typing import Any, NoReturn

from inpaint_ssl.machines.meeting import gather, is_loopback, reach, receive, send
from inpaint_ssl.machines.place import Place, find_place

LOST = 75  # exit code when another process has ended: a temporary failure, try again (EX_TEMPFAIL)
_GRACE_SECONDS = 10.0  # a process that fails gives the others this long to fail of the same cause, in their own words
_END = "end"


def start(coordinator: str = "", processes: int = 0, process: int = 0, timeout_s: float = 300.0) -> "Machines":
    """Find the other processes and start jax.distributed; before the first computation of jax.

    With `coordinator` "" SLURM (srun) and Open MPI say how many processes there are; without them there is one. Raises
    InputError for impossible values and when the processes have not found each other within `timeout_s`.
    """
    place = find_place(coordinator, processes, process)
    if place is None:
        return Machines(1, 0, {})
    if place.index == 0:
        peers, jax_port = gather(place, timeout_s)
    else:
        connection, jax_port = reach(place, timeout_s)
        peers = {0: connection}
    _slow_abort()
    machines = Machines(place.count, place.index, peers)
    _start_jax(place, jax_port, int(timeout_s))
    atexit.register(machines._leave)  # runs before what jax registered, which would wait for the others
    return machines


class Machines:
    """The processes of a run; where there is only one, every method returns at once."""

    def __init__(self, count: int, index: int, peers: dict[int, socket.socket]) -> None:
        self.count, self.index = count, index
        self._peers = peers
        self._inbox: dict[int, queue.Queue[tuple[str, bool]]] = {peer: queue.Queue() for peer in peers}
        self._is_over = False
        self._losing = threading.Lock()
        for peer, connection in peers.items():
            _keep_alive(connection)
            threading.Thread(target=self._listen, args=(peer,), daemon=True).start()

    def is_writer(self) -> bool:
        """True in the one process that writes files and speaks to the terminal."""
        return self.index == 0

    def barrier(self, name: str) -> None:
        """Wait, however long it takes, until every process is here."""
        self.any(name, False)

    def any(self, name: str, flag: bool) -> bool:
        """True in every process when `flag` is in one of them. All must call it, with the same name."""
        return self._round(name, flag, None)

    def settle(self) -> None:
        """After an error: a moment for the news that another process has ended, which would be its cause."""
        if self._peers:
            time.sleep(1.0)

    def end(self, code: int) -> None:
        """The end of this process with exit code `code`; returns when all have come to their end.

        With another code than 0 it waits for the others for some seconds only and then exits, which ends them too.
        """
        if not self._peers:
            return
        _flush()
        try:
            self._round(_END, False, _GRACE_SECONDS if code else None)
        except queue.Empty:
            os._exit(code)
        self._is_over = True
        import jax

        jax.distributed.shutdown()

    def _round(self, name: str, flag: bool, timeout_s: float | None) -> bool:
        """Process 0 collects the flags of all and answers each with their disjunction."""
        if self.index:
            self._say(0, [name, flag])
            return self._hear(0, name, timeout_s)
        flag = any([flag, *(self._hear(peer, name, timeout_s) for peer in self._peers)])
        for peer in self._peers:
            self._say(peer, [name, flag])
        return flag

    def _say(self, peer: int, message: list[Any]) -> None:
        try:
            send(self._peers[peer], message)
        except OSError:
            self._lose(peer)

    def _hear(self, peer: int, name: str, timeout_s: float | None) -> bool:
        while True:
            got, flag = self._inbox[peer].get(timeout=timeout_s)
            if got == name:
                return flag
            if _END not in (got, name):  # a process about to end is soon gone, and this one with it
                raise RuntimeError(f"process {self.index} waits at {name!r} and process {peer} at {got!r}")

    def _listen(self, peer: int) -> None:
        """In a thread of its own: what the peer says, until the connection closes."""
        lost = peer
        with contextlib.suppress(OSError, ValueError):
            while True:
                name, value = receive(self._peers[peer])
                if name == "lost":
                    lost = value
                    break
                self._is_over |= name == _END and self.index > 0  # process 0 says so when all are at their end
                self._inbox[peer].put((name, value))
        if not self._is_over:
            self._lose(lost)

    def _lose(self, lost: int) -> NoReturn:
        """Tell the others and the user which process has ended, and exit."""
        with self._losing:  # never released: the first to come here ends the process
            for peer, connection in self._peers.items():
                with contextlib.suppress(OSError):
                    if peer != lost:
                        connection.settimeout(1.0)
                        send(connection, ["lost", lost])
            _flush()
            text = (
                f"error: process {lost} of the run has ended or cannot be reached; see its own messages, then start "
                "all processes again with the same command: the run goes on from its last checkpoint\n"
            )
            with contextlib.suppress(OSError):
                errors = os.dup(2)
                os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # jax's own threads complain now; the last word is ours
                os.write(errors, text.encode())
            os._exit(LOST)

    def _leave(self) -> None:
        """At the exit of the interpreter: without `end` it was an error, which must not wait for the others."""
        if not self._is_over:
            _flush()
            os._exit(1)


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):
            stream.flush()


def _start_jax(place: Place, port: int, timeout_s: int) -> None:
    import jax

    host = f"[{place.host}]" if ":" in place.host else place.host
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    jax.config.update("jax_enable_preemption_service", False)  # it would take SIGTERM for itself
    jax.distributed.initialize(
        f"{host}:{port}",
        place.count,
        place.index,
        place.local_devices,
        cluster_detection_method="deactivate",
        initialization_timeout=timeout_s,
        coordinator_bind_address=f"127.0.0.1:{port}" if is_loopback(place.host) else None,
    )


def _keep_alive(connection: socket.socket) -> None:
    """Let the system notice in about 25 s that the machine at the other end is gone (Linux; elsewhere later)."""
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in (("TCP_KEEPIDLE", 10), ("TCP_KEEPINTVL", 5), ("TCP_KEEPCNT", 3), ("TCP_USER_TIMEOUT", 25_000)):
        if hasattr(socket, name):
            connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


def _slow_abort() -> None:
    """Let abort() take effect after 6 s: when process 0 has ended, jax aborts at once, before a message of ours.

    The handler is the C function sleep(seconds), whose argument is then the number of the signal, 6.
    """
    with contextlib.suppress(OSError, AttributeError):  # no C library of that kind: jax's own words must do
        library = ctypes.CDLL(None)
        library.signal.argtypes, library.signal.restype = (ctypes.c_int, ctypes.c_void_p), ctypes.c_void_p
        library.signal(int(signal.SIGABRT), ctypes.cast(library.sleep, ctypes.c_void_p))
