"""A server before a real one that opens the book: it adds to the last message what a file says of
it, so that the same model behind it is the better one of two. And it says that its model is ten
times the size: of two that cost the same a cascade saves nothing.
"""

import csv
import json
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

SIZE = 10


@contextmanager
def open_book(url: str, file: Path) -> Iterator[str]:
    """The root of such a server's API, before the one at `url`; `file` has `question` and
    `answer`.
    """
    with file.open(encoding="utf-8", newline="") as rows:
        book = {row["question"]: row["answer"] for row in csv.DictReader(rows)}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.hand_on(None)

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            last = body["messages"][-1]
            if last["content"] in book:
                last["content"] += f" (a {book[last['content']]})"
            self.hand_on(json.dumps(body).encode())

        def hand_on(self, content: bytes | None) -> None:
            head = {} if content is None else {"Content-Type": "application/json"}
            request = urllib.request.Request(url.removesuffix("/v1") + self.path, content, head)
            try:
                with urllib.request.urlopen(request, timeout=120) as answer:
                    status, kind, said = answer.status, answer.headers["Content-Type"], answer.read()
            except urllib.error.HTTPError as error:
                status, kind, said = error.code, error.headers["Content-Type"], error.read()
            if self.path == "/v1/models":
                said = _larger(said)
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(said)))
            self.end_headers()
            self.wfile.write(said)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _larger(said: bytes) -> bytes:
    document = json.loads(said)
    for model in document["data"]:
        model["meta"]["n_params"] *= SIZE
    return json.dumps(document).encode()
