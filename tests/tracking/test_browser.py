"""What a person sees: our runs in TensorBoard in a headless Chromium."""

import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from types import SimpleNamespace

import jax.numpy as jnp
import numpy as np
import pytest

from jaxembed.tracking import TensorBoard, histogram

pytestmark = [
    pytest.mark.browser,
    pytest.mark.slow,
    pytest.mark.skipif(
        not (shutil.which("chromium") or shutil.which("google-chrome")) or not shutil.which("chromedriver"),
        reason="no Chromium with its chromedriver is installed",
    ),
]

FLAGS = [
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--window-size=1600,1200",
]

# TensorBoard is made of web components, whose text and elements lie in shadow roots and frames: no selector enters.
WALK = """
const found = [];
const walk = (node) => {
  if (node.nodeType === Node.TEXT_NODE) { const text = node.textContent.trim(); if (text) found.push(text); return; }
  if (node.tagName === 'STYLE' || node.tagName === 'SCRIPT') return;
  visit(node);
  if (node.shadowRoot) walk(node.shadowRoot);
  if (node.contentDocument) walk(node.contentDocument.documentElement);
  for (const child of node.childNodes) walk(child);
};
"""
TEXT = f"const visit = () => {{}}; {WALK} walk(document.documentElement); return found.join('\\n');"
SEARCH = f"""
const inputs = [];
const visit = (node) => {{ if (node.tagName === 'VZ-PROJECTOR-INPUT' && node.label === 'Search') inputs.push(node); }};
{WALK} walk(document.documentElement);
const input = inputs[0].shadowRoot.querySelector('paper-input');
input.value = arguments[0];
input.dispatchEvent(new Event('input'));
"""


@pytest.fixture(scope="module")
def logs(tmp_path_factory):
    root = tmp_path_factory.mktemp("logs")
    rng = np.random.default_rng(0)
    keys = ["king", "queen", *(f"word{number}" for number in range(11_998))]
    for name, settings, score in (
        ("skipgram", {"objective": "infonce", "seed": 7, "window": 5}, 0.7125),
        ("glove", {"objective": "glove", "seed": 8, "x_max": 10.0}, 0.4875),
    ):
        board = TensorBoard(root / name)
        board.start(settings)
        for step in range(0, 500, 50):
            board.log({"train/loss": 4 * np.exp(-step / 300), "similarity/wordsim353": score * step / 500}, step)
            board.log({"tables/input": histogram(jnp.asarray(rng.normal(0, 0.1 + step / 1000, 3000)))}, step)
        board.artifact("words", SimpleNamespace(vectors=rng.normal(size=(12_000, 20)), index_to_key=keys))
        board.finish({"score": score})
    return root


@pytest.fixture(scope="module")
def address(logs):
    """The address of a TensorBoard over the logs, on a port that it chooses itself."""
    command = [sys.executable, "-m", "tensorboard.main", "--logdir", str(logs), "--host", "127.0.0.1", "--port", "0"]
    server = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    assert server.stderr is not None
    printed = []
    reader = threading.Thread(target=lambda: printed.extend(server.stderr or ()))  # keeps the pipe from filling up
    reader.start()
    try:
        url = waiting(lambda: re.search(r"http://127\.0\.0\.1:\d+/", "".join(printed)), "".join(printed), seconds=60)
        yield url.group()
    finally:
        os.killpg(server.pid, signal.SIGTERM)  # its data server is in the group
        server.wait(30)
        reader.join(30)
        server.stderr.close()


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium") or shutil.which("google-chrome") or ""
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(flag)
    driver = webdriver.Chrome(options=options, service=Service(shutil.which("chromedriver")))
    yield driver
    driver.quit()


def waiting(condition, printed="", seconds=60.0):
    """What `condition` returns once it is true."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if found := condition():
            return found
        time.sleep(0.25)
    raise AssertionError(f"not within {seconds} s. {printed}")


def page(browser, address, name, *expected):
    """Opens a tab and returns its text once every expected piece is on it."""
    browser.get("about:blank")
    browser.get(f"{address}#{name}")
    return shows(browser, *expected)


def shows(browser, *expected):
    text = ""
    end = time.monotonic() + 60
    while time.monotonic() < end:
        text = browser.execute_script(TEXT)
        if all(piece in text for piece in expected):
            return text
        time.sleep(0.25)
    missing = [piece for piece in expected if piece not in text]
    raise AssertionError(f"the page does not show {missing}:\n{text[-3000:]}")


def test_scalars_show_a_card_for_each_tag(browser, address):
    text = page(browser, address, "scalars", "train", "similarity/wordsim353", "score", "skipgram", "glove")
    assert "No scalar data was found" not in text
    text = page(browser, address, "timeseries", "/wordsim353", "tables", "train", "0.7125", "0.4875")
    assert {"skipgram", "glove"} <= set(text.splitlines())


def test_hparams_show_both_runs_with_their_values_in_one_table(browser, address):
    text = page(browser, address, "hparams", "infonce", "0.71250", "0.48750")
    lines = text.splitlines()
    rows = {name: lines[lines.index(name) :][:12] for name in ("skipgram", "glove") if name in lines}
    assert set(rows) == {"skipgram", "glove"}
    assert {"objective", "seed", "window", "x_max", "score", "train/loss"} <= set(lines)
    assert {"infonce", "7.0000"} <= set(rows["skipgram"])


def test_histograms_are_drawn(browser, address):
    page(browser, address, "histograms", "tables/input", "skipgram", "glove")


def test_projector_shows_ten_thousand_labelled_words(browser, address):
    page(browser, address, "projector", "2 runs found", "10000x20", "Points:\n10000")
    text = waiting(lambda: searched(browser, "king", "1 match"), "the search found no label")
    assert "king" in text.splitlines()


def searched(browser, word, printed):
    """The page's text after a search for `word`, once the labels are there to be found."""
    browser.execute_script(SEARCH, word)
    time.sleep(0.5)  # the list is drawn a moment later
    text = browser.execute_script(TEXT)
    return text if printed in text else None
