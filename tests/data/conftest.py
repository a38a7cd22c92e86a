import os

import pytest


@pytest.fixture(autouse=True)
def data_folder(tmp_path, monkeypatch):
    """Each test starts with an empty cache and without JAXEMBED_DATA, whose value this is."""
    monkeypatch.setenv("JAXEMBED_CACHE", str(tmp_path / "cache"))
    folder = os.environ.get("JAXEMBED_DATA")
    monkeypatch.delenv("JAXEMBED_DATA", raising=False)
    return folder
