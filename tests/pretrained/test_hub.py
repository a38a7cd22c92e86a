"""Models of the Hugging Face hub, which a server on this machine plays: pinned, fetched once, and not there without network."""

import hashlib
import json
import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from jaxembed.data.tokens import train_tokenizer
from jaxembed.pretrained.files import REVISIONS, on_hub

from . import checkpoints as tiny

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Hub(BaseHTTPRequestHandler):
    """What `huggingface_hub` asks of the hub, for one model `someone/tiny`."""

    files: dict[str, bytes]
    asked: list[str]

    def do_GET(self):
        path = self.path.partition("?")[0]
        api, resolve = "/api/models/someone/tiny", "/someone/tiny/resolve/"
        if path == api or path.startswith(api + "/revision/"):
            revision = path.removeprefix(api).removeprefix("/revision/")
            if revision not in ("", "main", "v1", COMMIT):
                return self.answer(404, error="RevisionNotFound")
            files = [{"rfilename": name} for name in self.files]
            return self.answer(200, {"id": "someone/tiny", "sha": COMMIT, "siblings": files, "private": False})
        if path.startswith(api + "/tree/"):
            return self.answer(200, [self.described(name) for name in self.files])
        if path.startswith(resolve):
            revision, _, name = path.removeprefix(resolve).partition("/")
            self.asked.append(f"{revision}/{name}")
            if name in self.files:
                return self.answer(200, self.files[name])
            return self.answer(404, error="EntryNotFound")
        return self.answer(404, error="RepoNotFound")

    do_HEAD = do_GET

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


@pytest.fixture
def hub(tmp_path):
    core = train_tokenizer(["a dog runs", "rain"], vocab_size=60, min_count=1, cache=False).core
    folder = tiny.write(tmp_path / "tiny", *tiny.bert(core.get_vocab_size()), core)
    files = {path.name: path.read_bytes() for path in folder.iterdir()}
    files |= {"pytorch_model.bin": b"a pickle", "onnx/model.safetensors": b"another"}
    handler = type("Tiny", (Hub,), {"files": files, "asked": []})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", handler.asked
    server.shutdown()
    server.server_close()
    thread.join()


def in_a_fresh_process(names, tmp_path, endpoint, **environment):
    """What becomes of names: the folder's commit and files, or the error; the hub's library reads its environment at import."""
    program = f"""
import json
from jaxembed.pretrained import find
def attempt(name):
    try:
        found = find(name)
        return [found.name, found.revision, len(found.tensors)]
    except Exception as error:
        return [type(error).__name__, str(error)]
print(json.dumps([attempt(name) for name in {names!r}]))
"""
    settings = {"HF_ENDPOINT": endpoint, "HF_HOME": str(tmp_path / "hf"), "HF_HUB_DISABLE_TELEMETRY": "1"}
    settings |= {"NO_PROXY": "127.0.0.1", "HF_HUB_DISABLE_XET": "1", **environment}
    done = subprocess.run(
        [sys.executable, "-c", program], env=os.environ | settings, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_a_model_of_the_hub_is_fetched_at_one_commit_without_its_pickles(hub, tmp_path):
    endpoint, asked = hub
    names = ["someone/tiny", "someone/tiny@v1", "someone/tiny@v2", "someone/other"]
    newest, tagged, absent, unknown = in_a_fresh_process(names, tmp_path, endpoint)
    assert newest == tagged == ["someone/tiny", COMMIT, len(tiny.bert(9)[1])]
    assert {one.partition("/")[0] for one in asked} == {COMMIT}  # never a branch or a tag, which may move
    assert {one.partition("/")[2] for one in asked} == {"config.json", "model.safetensors", "tokenizer.json"}
    assert absent[0] == "ValueError"
    assert "no revision 'v2'" in absent[1]
    assert unknown[0] == "FileNotFoundError"
    assert "no model 'someone/other' on the hub" in unknown[1]
    # afterwards, without network: what was fetched before at that commit, and nothing else
    for environment in ({"HF_ENDPOINT": "http://127.0.0.1:9"}, {"HF_HUB_OFFLINE": "1"}):
        again, lost = in_a_fresh_process([f"someone/tiny@{COMMIT}", "someone/other"], tmp_path, endpoint, **environment)
        assert again == newest
        assert lost[0] == "ConnectionError"
        assert "You seem to be offline: name a folder" in lost[1]


def test_names_of_the_hub_are_told_from_paths(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert on_hub("sentence-transformers/all-MiniLM-L6-v2")
    assert on_hub("someone/tiny@v1")
    (tmp_path / "runs").mkdir()
    for path in ("runs/simcse", "word.txt", "gpt2", "./gpt2", "a/b/c", "/tmp/x", "models/glove.txt"):
        assert not on_hub(path), path
    assert all(on_hub(name) and len(commit) == 40 for name, commit in REVISIONS.items())
