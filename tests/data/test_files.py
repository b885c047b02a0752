"""Files of sets are found, downloaded and checked; errors are clear; no partial file is kept."""

import dataclasses
import http.server
import threading

import numpy as np
import pooch
import pytest

from jaxad.data import CARDS, DownloadError, load
from jaxad.data.files import fetch

GLASS = CARDS["glass"]


@pytest.fixture
def server():
    """An HTTP server. ``server.answers[path]``: the content, and the number of bytes to send."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.server.requests.append(self.path)
            if self.path not in self.server.answers:
                self.send_error(404)
                return
            content, sent = self.server.answers[self.path]
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content[:sent])

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        running.answers, running.requests = {}, []
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield running
        running.shutdown()
        thread.join()


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty cache; JAXAD_DATA is not set."""
    monkeypatch.delenv("JAXAD_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "jaxad" / "data"


@pytest.fixture
def own(tmp_path, monkeypatch):
    """A folder that JAXAD_DATA names."""
    monkeypatch.setenv("JAXAD_DATA", str(tmp_path / "own"))
    (tmp_path / "own" / "adbench").mkdir(parents=True)
    return tmp_path / "own"


def write_glass(path, rows=GLASS.rows):
    """Write a file that agrees with the card of the glass set; return its rows."""
    path.parent.mkdir(parents=True, exist_ok=True)
    x = np.random.default_rng(0).normal(size=(rows, GLASS.features))
    np.savez_compressed(path, X=x, y=np.arange(rows) < GLASS.anomalies)
    return x


@pytest.fixture
def published(server, tmp_path, monkeypatch):
    """Publish the glass set on ``server``; return its rows."""
    path = tmp_path / "published" / "glass.npz"
    x = write_glass(path)
    content = path.read_bytes()
    server.answers["/glass.npz"] = content, len(content)
    copy = GLASS.copies[0]
    url = f"http://127.0.0.1:{server.server_port}/glass.npz"
    file = copy.files[0]._replace(url=url, sha256=pooch.file_hash(path))
    card = dataclasses.replace(GLASS, copies=(copy._replace(files=(file,)),))
    monkeypatch.setitem(CARDS, "glass", card)
    return x


def files_below(folder):
    return [path for path in folder.rglob("*") if path.is_file()]


def test_a_set_is_downloaded_once_and_kept(cache, server, published):
    first, second = load("glass"), load("glass", download=False)
    np.testing.assert_array_equal(first.x, published)
    np.testing.assert_array_equal(second.x, published)
    assert first.is_anomaly.sum() == 9
    assert server.requests == ["/glass.npz"]
    assert files_below(cache) == [cache / "adbench" / "14_glass.npz"]
    assert [path.name for path in (cache / "adbench").iterdir()] == ["14_glass.npz"]


def test_a_truncated_download_is_refused_and_leaves_nothing(cache, server, published):
    content, _ = server.answers["/glass.npz"]
    server.answers["/glass.npz"] = content, 100
    damage = r"(100 bytes read|SHA256 hash .* does not match)"  # the second before urllib3 2
    message = rf"adbench/14_glass\.npz: .*{damage}.*Nothing was kept"
    with pytest.raises(DownloadError, match=message):
        load("glass")
    assert files_below(cache) == []
    server.answers["/glass.npz"] = content, len(content)
    np.testing.assert_array_equal(load("glass").x, published)


def test_a_corrupted_download_names_the_file_and_both_hashes(cache, server, published, tmp_path):
    content, _ = server.answers["/glass.npz"]
    damaged = content[:50] + bytes([content[50] ^ 1]) + content[51:]
    server.answers["/glass.npz"] = damaged, len(damaged)
    (tmp_path / "damaged").write_bytes(damaged)
    expected = CARDS["glass"].copies[0].files[0].sha256
    found = pooch.file_hash(tmp_path / "damaged")
    with pytest.raises(DownloadError) as caught:
        load("glass")
    for part in ("adbench/14_glass.npz", f"{expected} but got {found}"):
        assert part in str(caught.value)
    assert "set JAXAD_DATA" in str(caught.value)
    assert files_below(cache) == []


@pytest.mark.usefixtures("published")
def test_an_address_that_does_not_answer_is_named(cache, server):
    server.answers.clear()
    with pytest.raises(DownloadError, match=r"cannot download http://127.*glass\.npz \(.*404"):
        load("glass")
    assert files_below(cache) == []


def test_a_damaged_file_in_the_cache_is_downloaded_anew(cache, server, published):
    load("glass")
    path = cache / "adbench" / "14_glass.npz"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(FileNotFoundError, match="download=False"):
        load("glass", download=False)
    np.testing.assert_array_equal(load("glass").x, published)
    assert len(server.requests) == 2


@pytest.mark.usefixtures("published")
def test_a_folder_of_ones_own_comes_before_the_address(own, server):
    x = write_glass(own / "adbench" / "14_glass.npz")
    np.testing.assert_array_equal(load("glass").x, x)
    assert server.requests == []


@pytest.mark.usefixtures("published")
def test_with_a_folder_of_ones_own_nothing_is_downloaded(own, server):
    with pytest.raises(FileNotFoundError) as caught:
        load("glass")
    for part in (str(own), "adbench/14_glass.npz", GLASS.source, "unset JAXAD_DATA"):
        assert part in str(caught.value)
    assert server.requests == []
    assert files_below(own) == []


@pytest.mark.usefixtures("cache")
def test_without_an_address_the_message_says_where_to_get_it_and_where_to_put_it():
    with pytest.raises(FileNotFoundError) as caught:
        load("yeast")
    for part in ("adbench/47_yeast.npz", "github.com/Minqi824/ADBench", "set JAXAD_DATA to the"):
        assert part in str(caught.value)
    assert "download=False" not in str(caught.value)


@pytest.mark.usefixtures("cache")
def test_download_false_does_not_reach_for_the_network():
    with pytest.raises(FileNotFoundError, match="'thyroid'.*download=False.*odds.cs.stonybrook"):
        load("thyroid", download=False)


def test_an_unknown_name_lists_the_valid_ones():
    with pytest.raises(ValueError, match=r"'thyriod'; did you mean 'thyroid'\? valid: .*, glass,"):
        load("thyriod")


def test_a_damaged_file_of_ones_own_is_named_with_its_hash(own):
    path = own / "adbench" / "14_glass.npz"
    write_glass(path)
    path.write_bytes(path.read_bytes()[:300])
    with pytest.raises(ValueError, match="'glass' cannot be read.*damaged") as caught:
        load("glass")
    assert f"{path} has SHA-256 {pooch.file_hash(path)}" in str(caught.value)
    assert f"the published file {GLASS.copies[0].files[0].sha256}" in str(caught.value)


def test_a_file_that_is_not_the_set_is_refused_with_the_figures(own):
    write_glass(own / "adbench" / "14_glass.npz", rows=200)
    with pytest.raises(ValueError, match=r"not the set 'glass'.*rows: 200, not 214"):
        load("glass")


def test_a_file_without_an_address_is_not_fetched(tmp_path):
    file = CARDS["yeast"].copies[0].files[0]
    with pytest.raises(DownloadError, match="no public address"):
        fetch(file, tmp_path)
