"""The Hugging Face hub as a server on this machine plays it, with one dataset or model `someone/tiny` of one commit."""

import hashlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Hub(BaseHTTPRequestHandler):
    """What `datasets` and `huggingface_hub` request of the hub."""

    kind: str  # datasets or models
    files: dict[str, bytes]
    requested: list[str]  # REVISION/FILE, in order

    def do_GET(self):
        path = self.path.partition("?")[0]
        # Models stand at the root of the hub, datasets in a folder.
        folder = "/datasets" if self.kind == "datasets" else ""
        api, resolve = f"/api/{self.kind}/someone/tiny", f"{folder}/someone/tiny/resolve/"
        if path == api or path.startswith(api + "/revision/"):
            revision = path.removeprefix(api).removeprefix("/revision/")
            if revision not in ("", "main", "v1", COMMIT):
                return self.answer(404, error="RevisionNotFound")
            files = [{"rfilename": name} for name in self.files]
            return self.answer(200, {"id": "someone/tiny", "sha": COMMIT, "siblings": files, "private": False})
        if path.startswith(api + "/tree/"):
            self.requested.append(path.removeprefix(api + "/tree/").partition("/")[0] + "/")
            return self.answer(200, [self.described(name) for name in self.files])
        if path.startswith(resolve):
            self.requested.append(path.removeprefix(resolve))
            name = self.requested[-1].partition("/")[2]
            if name in self.files:
                return self.answer(200, self.files[name])
            return self.answer(404, error="EntryNotFound")
        return self.answer(404, error="RepoNotFound")

    do_HEAD = do_GET

    def do_POST(self):
        form = self.rfile.read(int(self.headers["Content-Length"])).decode()
        requests = json.loads(form)["paths"] if form.startswith("{") else form
        self.answer(200, [self.described(name) for name in self.files if name in requests])

    def described(self, name):
        content = self.files[name]
        return {"type": "file", "path": name, "size": len(content), "oid": hashlib.sha1(content).hexdigest()}

    def answer(self, status, body: object = b"", error=None):
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("Content-Type", "application/octet-stream" if isinstance(body, bytes) else "application/json")
        self.send_header("ETag", f'"{hashlib.sha1(content).hexdigest()}"')
        self.send_header("X-Repo-Commit", COMMIT)
        if error:
            self.send_header("X-Error-Code", error)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def log_message(self, *_):
        pass


@contextmanager
def playing(kind: str, files: dict[str, bytes]) -> Iterator[tuple[str, list[str]]]:
    """Serves the files; gives the address, and the list of what is requested."""
    handler = type("Tiny", (Hub,), {"kind": kind, "files": files, "requested": []})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", handler.requested
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def printed(program: str, home: Path, endpoint: str, **environment: str) -> Any:
    """What a fresh process prints as JSON on its last line: the hub's libraries read their environment at import."""
    settings = {"HF_ENDPOINT": endpoint, "HF_HOME": str(home / "hf"), "HF_UPDATE_DOWNLOAD_COUNTS": "0"}
    settings |= {"HF_HUB_DISABLE_TELEMETRY": "1", "NO_PROXY": "127.0.0.1", "HF_HUB_DISABLE_XET": "1", **environment}
    done = subprocess.run(
        [sys.executable, "-c", program], env=os.environ | settings, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])
