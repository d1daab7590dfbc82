"""A configuration from a file, the environment and flags; its schema is the published one."""

import json
from pathlib import Path

import pytest
from interwhen import UsageError
from interwhen.gateway import Config
from interwhen.gateway._config import UpstreamConfig, load_config, schema, variables
from interwhen.gateway._gateway import Gateway, parse_upstream
from interwhen.gateway._http_errors import HttpError
from interwhen.gateway._server import listen

TOML = """
upstreams = ["http://one/v1", { url = "http://two/v1", models = ["gpt-*"] }]
monitors = ["arithmetic", { name = "arithmetic", label = "careful", delivery = "gate" }]
reading = "gate"
port = 1234

[limits]
concurrent = 7
waiting = 8

[budgets]
remedies = 3

[[models]]
match = "qwen-*"
monitors = []
"""


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "interwhen.toml"
    path.write_text(TOML)
    return path


def test_settings_are_read_from_file(file):
    config = load_config({}, path=file, environment={})
    assert config.upstreams == ("http://one/v1", UpstreamConfig(url="http://two/v1", models=("gpt-*",)))
    assert config.limits.concurrent == 7
    assert config.budgets.remedies == 3
    assert config.budgets.reconnects == 0  # not what an unsupervised run has
    assert config.models[0].monitors == ()


def test_flags_override_environment_which_overrides_file(file):
    environment = {"INTERWHEN_PORT": "1", "INTERWHEN_LIMITS_CONCURRENT": "9", "INTERWHEN_READING": "final"}
    config = load_config({"port": 2, "limits.waiting": 5}, path=file, environment=environment)
    assert (config.port, config.reading) == (2, "final")
    assert (config.limits.concurrent, config.limits.waiting) == (9, 5)


def test_every_setting_has_a_variable():
    tables = {name.partition(".")[0] for name in dict(variables()).values() if "." in name}
    assert tables == {
        "audit",
        "budgets",
        "contexts",
        "demotion",
        "journal",
        "limits",
        "patience",
        "ui",
    }
    assert dict(variables())["INTERWHEN_LIMITS_DRAIN_SECONDS"] == "limits.drain_seconds"
    environment = {
        "INTERWHEN_UPSTREAMS": "http://a/v1 gpt-*=http://b/v1",
        "INTERWHEN_MONITORS": '[{"name": "arithmetic", "level": "explain"}]',
        "INTERWHEN_LOCKED": "true",
        "INTERWHEN_KEYS": "key-number-one key-number-two",
        "INTERWHEN_PATIENCE_FIRST_TOKEN": "2.5",
        "INTERWHEN_SERVICE_PORT": "80",
        "HOME": "/",
    }
    config = load_config({}, environment=environment)
    assert config.upstreams == ("http://a/v1", "gpt-*=http://b/v1")
    assert config.monitors == ({"name": "arithmetic", "level": "explain"},)
    assert (config.locked, len(config.keys), config.patience.first_token) == (True, 2, 2.5)


def test_config_file_comes_from_variable_or_working_directory(file, monkeypatch):
    assert load_config({}, environment={"INTERWHEN_CONFIG": str(file)}).port == 1234
    assert load_config({}, environment={}).port == 8400
    monkeypatch.chdir(file.parent)
    assert load_config({}, environment={}).port == 1234


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("prot = 1", "did you mean 'port'"),
        ("port = 99999", "port"),
        ("port = 'x'", "port"),
        ("[limits]\nconcurent = 1", "concurent"),
        ("[limits]\nconcurrent = 0", "concurrent"),
        ("[budgets]\nremedies = -1", r"budgets\.remedies"),
        ("reading = 'upside down'", "upside down"),
        ("keys = ['short']", "keys"),
        ("models = 5", r"models"),
        ("port = ", "TOML"),
    ],
)
def test_config_error_names_file_and_setting(text, said, tmp_path):
    path = tmp_path / "bad.toml"
    path.write_text(text)
    with pytest.raises(UsageError, match=said) as caught:
        load_config({}, path=path, environment={})
    assert "bad.toml" in str(caught.value)


@pytest.mark.parametrize("value", ["[" * 100_000, "[\udc80"])
def test_variable_with_invalid_json_is_refused(value):
    with pytest.raises(UsageError, match="INTERWHEN_MONITORS begins like JSON"):
        load_config({}, environment={"INTERWHEN_MONITORS": value})


def test_missing_named_config_file_is_an_error(tmp_path):
    with pytest.raises(UsageError, match="must be readable UTF-8 text"):
        load_config({}, path=tmp_path / "none.toml", environment={})


def test_error_messages_contain_no_keys():
    with pytest.raises(UsageError) as caught:
        load_config({}, environment={"INTERWHEN_KEYS": '["secret-key'})
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({}, "--upstream"),
        ({"upstreams": ("localhost:8000",)}, "http://"),
        ({"upstreams": ("http://a/v1?x=1",)}, "http://"),
        ({"upstreams": (UpstreamConfig(url="http://a/v1", key_env="NO_SUCH_VARIABLE"),)}, "NO_SUCH_VARIABLE"),
        ({"upstreams": ("http://a/v1",), "keys_file": "/no/such/file"}, "must be (a )?readable"),
        ({"upstreams": ("http://a/v1",), "monitors": ("none-such",)}, "none-such"),
    ],
)
def test_invalid_configuration_is_refused_at_start(config, said):
    with pytest.raises(UsageError, match=said):
        Gateway(Config(**config))


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("someone:secret@a/v1", "http://"),
        ("http://someone:secret@a:port/v1", "http://"),
        ("http://a/v1?key=secret", "http://"),
        ("http://someone:secret@a/v1", "key_env"),
    ],
)
def test_startup_errors_hide_secrets_of_upstream_url(url, said, monkeypatch):
    monkeypatch.setenv("UPSTREAM_KEY", "key")
    with pytest.raises(UsageError, match=said) as caught:
        Gateway(Config(upstreams=(UpstreamConfig(url=url, key_env="UPSTREAM_KEY"),)))
    assert "secret" not in str(caught.value)


def test_keys_are_read_from_a_file(tmp_path):
    path = tmp_path / "keys"
    path.write_text("# ours\nkey-number-one\n\nkey-number-two\n")
    keys = Gateway(Config(upstreams=("http://a/v1",), keys_file=str(path))).keys
    assert keys.admit({"authorization": "Bearer key-number-two"}) == "authorization"
    path.write_text(" # a note\n\tkey-number-one \n")
    keys = Gateway(Config(upstreams=("http://a/v1",), keys_file=str(path))).keys
    assert keys.admit({"x-interwhen-key": "key-number-one"})
    with pytest.raises(HttpError):
        keys.admit({"x-interwhen-key": "# a note"})
    path.write_text("# ours\nkey-number-one\nshort\n")
    with pytest.raises(UsageError, match="line 3: a key must have at least 8 characters, got 5") as caught:
        Gateway(Config(upstreams=("http://a/v1",), keys_file=str(path)))
    assert "short" not in str(caught.value)
    path.write_text("\n")
    with pytest.raises(UsageError, match="must hold at least one key"):
        Gateway(Config(upstreams=("http://a/v1",), keys_file=str(path)))

    path.write_text("\ufeff# a note of Windows\nkey-number-one\n", encoding="utf-8")
    keys = Gateway(Config(upstreams=("http://a/v1",), keys_file=str(path))).keys
    assert not keys.holds("\ufeff# a note of Windows")
    path.write_text("\ufeffkey-number-one\n", encoding="utf-8")
    assert Gateway(Config(upstreams=("http://a/v1",), keys_file=str(path))).keys.holds("key-number-one")
    for key in ("schlüssel-eins", " key-number-one", "key\tnumber-one"):
        with pytest.raises(UsageError, match="printable ASCII characters only") as caught:
            Gateway(Config(upstreams=("http://a/v1",), keys=(key,)))
        assert key not in str(caught.value)


def test_upstream_text_is_parsed():
    assert parse_upstream("http://a/v1") == UpstreamConfig(url="http://a/v1")
    assert parse_upstream("gpt-*,o3=http://a/v1").models == ("gpt-*", "o3")
    assert parse_upstream("http://a/v1/x=y") == UpstreamConfig(url="http://a/v1/x=y")


def test_gateway_listens_on_loopback_by_default():
    with listen(Config(port=0)) as listener:
        assert listener.getsockname()[0] == "127.0.0.1"
        with pytest.raises(UsageError, match="must be free to listen on"):
            listen(Config(port=listener.getsockname()[1]))


def test_published_schema_matches_the_code():
    published = Path(__file__).parents[2] / "docs" / "interwhen.schema.json"
    assert json.loads(published.read_text()) == json.loads(json.dumps(schema()))


def test_no_description_has_the_indentation_of_its_docstring():
    assert "\\n    " not in json.dumps(schema())


def test_schema_states_minimum_of_budgets():
    budgets = schema()["$defs"]["CallBudgets"]["properties"]
    for name, field in budgets.items():
        numbers = [kind for kind in field.get("anyOf", [field]) if kind["type"] in {"integer", "number"}]
        assert [kind["minimum"] for kind in numbers] == [0], name


def test_a_removed_setting_names_its_replacement():
    with pytest.raises(UsageError, match=r"got 'allocator', which was removed: choose the strategy until-verified"):
        load_config({"allocator": {"tokens": 500}}, environment={})
