"""A server before a real one that opens the book: it adds to the last message what a file says of
it, so that the same model behind it is the better one of two. And it says that its model is ten
times the size: of two that cost the same a cascade saves nothing.
"""

import csv
import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path

from tests.servers import Answering, answering

SIZE = 10


@contextmanager
def open_book(url: str, file: Path) -> Iterator[str]:
    """The root of such a server's API, before the one at `url`; `file` has `question` and
    `answer`.
    """
    with file.open(encoding="utf-8", newline="") as rows:
        book = {row["question"]: row["answer"] for row in csv.DictReader(rows)}

    class Handler(Answering, BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.hand_on(None)

        def do_POST(self) -> None:
            body = self.read_json()
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
            self.answer(status, said, kind)

    with answering(Handler) as root:
        yield root


def _larger(said: bytes) -> bytes:
    document = json.loads(said)
    for model in document["data"]:
        model["meta"]["n_params"] *= SIZE
    return json.dumps(document).encode()
