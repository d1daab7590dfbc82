"""The page of recorded runs behind the gateway's URL: off by default, with a key of its own, and gone with the gateway."""

import httpx2
import interwhen
import pytest
from interwhen import UsageError
from interwhen.gateway import Config
from interwhen.gateway._gateway import Gateway
from interwhen.testing import ScriptedModel

KEY = "the key of the page"
CLIENT = "the key of a client"


@pytest.fixture
def journals(tmp_path):
    path = tmp_path / "journals" / "a.journal"
    path.parent.mkdir()
    with interwhen.run_sync(ScriptedModel(["2 + 2 = 4\n"]), "Q", monitors=["arithmetic"], journal=path) as run:
        run.drain()
    return path.parent


def test_ui_is_disabled_by_default(gateway):
    running = gateway("http://127.0.0.1:9/v1")
    root = running.base_url.removesuffix("/v1")
    assert httpx2.get(f"{root}/ui/").status_code == 404


def test_ui_is_served_by_the_gateway(gateway, journals):
    running = gateway("http://127.0.0.1:9/v1", ui={"journals": [str(journals)]})
    root = running.base_url.removesuffix("/v1")
    assert "interwhen view" in httpx2.get(f"{root}/ui", follow_redirects=True).text
    [row] = httpx2.get(f"{root}/ui/runs").json()["runs"]
    assert row["label"] == "steps verified"
    assert httpx2.get(f"{root}/ui/runs", headers={"host": "evil.example"}).status_code == 403


def test_ui_lists_the_gateway_journals(gateway, tmp_path):
    written = tmp_path / "calls"
    running = gateway("http://127.0.0.1:9/v1", ui={"enabled": True}, journal={"path": str(written)})
    root = running.base_url.removesuffix("/v1")
    assert httpx2.get(f"{root}/ui/runs").json()["runs"] == []
    with interwhen.run_sync(ScriptedModel(["2 + 2 = 4\n"]), "Q", journal=written / "a.journal") as run:
        run.drain()
    assert len(httpx2.get(f"{root}/ui/runs").json()["runs"]) == 1


def test_ui_without_journal_is_refused_with_hint():
    with pytest.raises(UsageError, match=r"add \[journal\] with a path"):
        Gateway(Config(upstreams=("http://127.0.0.1:9/v1",), ui=ui_of({"enabled": True})))


def test_ui_key_differs_from_client_keys(journals):
    def made(**ui):
        return Gateway(Config(upstreams=("http://127.0.0.1:9/v1",), keys=(CLIENT,), ui=ui_of(ui)))

    with pytest.raises(UsageError, match="must not be a key of clients"):
        made(journals=(str(journals),), key=CLIENT)
    with pytest.raises(UsageError, match="at least 8 characters"):
        made(journals=(str(journals),), key="short")
    with pytest.raises(UsageError, match=r"got a page that is off"):
        made(key=KEY)
    assert made(journals=(str(journals),), key=KEY).pages is not None


def ui_of(fields):
    from interwhen.gateway._config import UiConfig

    return UiConfig(**fields)
