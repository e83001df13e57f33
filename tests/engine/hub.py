"""A server on this machine that answers like the Hugging Face hub: listings with checksums, files with byte ranges."""

from __future__ import annotations

import contextlib
import hashlib
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlparse

__all__ = ["Hub", "serve_hub"]

_LARGE = 10_000  # bytes from which a file is "large" and listed with its SHA-256


@dataclass
class Hub:
    """What the server holds, what it was asked, and how it misbehaves.

    Attributes
    ----------
    repos
        Repository -> file name -> content.
    served
        (method, path, range header) of every request for a file.
    cut_after
        Break the connection off after so many bytes of a body, once.
    ranges
        Whether byte ranges are honoured.
    lies
        File names whose content differs from what the listing says.
    """

    repos: dict[str, dict[str, bytes]]
    licence: str = "mit"
    served: list[tuple[str, str, str]] = field(default_factory=list)
    cut_after: int | None = None
    ranges: bool = True
    lies: set[str] = field(default_factory=set)

    def commit(self, repo: str) -> str:
        """Commit id of a repository: it follows its content."""
        digest = hashlib.sha1(repr(sorted(self.repos[repo].items())).encode(), usedforsecurity=False)
        return digest.hexdigest()

    def listing(self, repo: str) -> dict[str, Any]:
        siblings = []
        for name, data in self.repos[repo].items():
            blob = hashlib.sha1(f"blob {len(data)}\0".encode() + data, usedforsecurity=False).hexdigest()
            item: dict[str, Any] = {"rfilename": name, "size": len(data), "blobId": blob}
            if len(data) >= _LARGE:
                item["lfs"] = {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data), "pointerSize": 134}
            siblings.append(item)
        return {
            "id": repo,
            "modelId": repo,
            "sha": self.commit(repo),
            "tags": [f"license:{self.licence}"],
            "siblings": siblings,
            "private": False,
            "downloads": 0,
            "likes": 0,
        }


class _Handler(BaseHTTPRequestHandler):
    hub: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: Any) -> None:
        """Stay silent."""

    def do_GET(self) -> None:
        url = urlparse(self.path)
        parts = url.path.strip("/").split("/")
        if parts[:2] == ["api", "models"]:
            self._listing("/".join(parts[2:4]), parse_qs(url.query))
        elif len(parts) > 4 and parts[2] == "resolve":
            self._file("/".join(parts[:2]), parts[3], "/".join(parts[4:]))
        else:
            self._send(404, b"{}")

    def _listing(self, repo: str, query: dict[str, list[str]]) -> None:
        if repo not in self.hub.repos or "blobs" not in query:
            self._send(404, b'{"error": "Repository not found"}', {"X-Error-Code": "RepoNotFound"})
            return
        self._send(200, json.dumps(self.hub.listing(repo)).encode(), {"Content-Type": "application/json"})

    def _file(self, repo: str, commit: str, name: str) -> None:
        asked = self.headers.get("Range", "")
        self.hub.served.append((self.command, self.path, asked))
        data = self.hub.repos.get(repo, {}).get(name)
        if data is None or commit != self.hub.commit(repo):
            self._send(404, b"")
            return
        if name in self.hub.lies:
            data = bytes(len(data))
        start = int(asked.removeprefix("bytes=").split("-")[0]) if asked and self.hub.ranges else 0
        self._send(206 if asked and self.hub.ranges else 200, data[start:])

    def _send(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for key, value in ({"Content-Length": str(len(body))} | (headers or {})).items():
            self.send_header(key, value)
        self.end_headers()
        cut = self.hub.cut_after
        if cut is not None and "/resolve/" in self.path and len(body) > cut:
            self.hub.cut_after = None
            body = body[:cut]
            self.close_connection = True
        self.wfile.write(body)


@contextlib.contextmanager
def serve_hub(hub: Hub) -> Iterator[str]:
    """Serve ``hub`` on a free port of this machine and yield its address."""
    handler = type("Handler", (_Handler,), {"hub": hub})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
