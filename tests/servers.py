"""Real processes that tests talk to over loopback."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any


class Answering:
    """Beside `BaseHTTPRequestHandler`: whole bodies in and out, and no line in the log."""

    headers: Any
    rfile: Any
    wfile: Any
    send_response: Any
    send_header: Any
    end_headers: Any

    def read_json(self) -> Any:
        return json.loads(self.rfile.read(int(self.headers["Content-Length"])))

    def answer(self, status: int, content: bytes, kind: str = "application/json") -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def answering(handler: type[BaseHTTPRequestHandler]) -> Iterator[str]:
    """A server on loopback; yields the root of its OpenAI-compatible API."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def free_port() -> int:
    """A port of loopback that was free a moment ago."""
    with socket.socket() as asked:
        asked.bind(("127.0.0.1", 0))
        port: int = asked.getsockname()[1]
        return port


def wait_until_answering(url: str, process: "subprocess.Popen[bytes]", *, within_s: float) -> None:
    """Wait for a 200 of `url`; fails when the process ends or time runs out."""
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise AssertionError(f"the process of {url} ended with {process.returncode}")
        try:
            with urllib.request.urlopen(url, timeout=2) as answer:
                if answer.status == 200:
                    return
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            time.sleep(0.1)
    raise AssertionError(f"{url} did not answer within {within_s} s")


@contextmanager
def running(
    command: Sequence[str], *, environment: Mapping[str, str], log: Path
) -> "Iterator[subprocess.Popen[bytes]]":
    """A process that is ended, with its children, when the block is left."""
    with log.open("ab") as output:
        process = subprocess.Popen(
            command, env={**os.environ, **environment}, stdout=output, stderr=output, start_new_session=True
        )
    try:
        yield process
    finally:
        end_group(process)


def end_group(process: "subprocess.Popen[bytes]") -> None:
    """End the session that `process` leads."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


@contextmanager
def served(app: Any, **bounds: Any) -> Iterator[int]:
    """An application as it is served, on a thread of this process; `bounds` of its connections.
    Yields its port.
    """
    import uvicorn

    from services.serving import BoundedProtocol, server_config

    bound = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(server_config(app, protocol=type("Bounds", (BoundedProtocol,), bounds)))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [bound]})
    thread.start()
    while not server.started:
        assert thread.is_alive()
        time.sleep(0.01)
    port: int = bound.getsockname()[1]
    try:
        yield port
    finally:
        server.should_exit = True
        thread.join()


def mlflow_command(folder: Path, port: int) -> list[str]:
    """What starts an MLflow tracking server with a SQLite back end in this folder."""
    return [
        *(sys.executable, "-m", "mlflow", "server", "--host=127.0.0.1", f"--port={port}", "--workers=1"),
        *(f"--backend-store-uri=sqlite:///{folder / 'mlflow.db'}", f"--artifacts-destination={folder / 'artifacts'}"),
    ]


# Without its workers for jobs of its own, seven processes that nobody here needs.
MLFLOW_ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "1",
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
}


@contextmanager
def mlflow_server(folder: Path) -> Iterator[str]:
    """An MLflow tracking server with a SQLite back end; yields its URL."""
    port = free_port()
    command = mlflow_command(folder, port)
    with running(command, environment=MLFLOW_ENVIRONMENT, log=folder / "mlflow.log") as process:
        url = f"http://127.0.0.1:{port}"
        wait_until_answering(f"{url}/health", process, within_s=120)
        yield url


@contextmanager
def llama_cpp_server(folder: Path) -> Iterator[str]:
    """A llama.cpp server with its model; yields the root of its API."""
    port = free_port()
    command = [sys.executable, "-m", "tests.llama_cpp", str(port)]
    with running(command, environment={}, log=folder / "llama_cpp.log") as process:
        wait_until_answering(f"http://127.0.0.1:{port}/health", process, within_s=120)
        yield f"http://127.0.0.1:{port}/v1"
