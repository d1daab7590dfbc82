"""The files for containers and Kubernetes: their syntax, the options of the command in them, and times that fit."""

import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest
from interwhen.gateway._config import load_config

pytestmark = pytest.mark.source
FOLDER = Path(__file__).parents[2] / "docs" / "deployment"
RULES = "{extends: default, rules: {line-length: {max: 120}}}"


@pytest.fixture
def yaml():
    return pytest.importorskip("yaml")


@pytest.mark.parametrize("name", ["compose.yaml", "kubernetes.yaml"])
def test_the_files_are_clean_yaml_and_say_that_they_were_not_run(name):
    pytest.importorskip("yamllint")
    from yamllint import linter
    from yamllint.config import YamlLintConfig

    text = (FOLDER / name).read_text()
    assert list(linter.run(text, YamlLintConfig(RULES))) == []
    assert "Not run" in text.splitlines()[0]


def options(words):
    """Parse the options of ``interwhen serve`` in *words*, and return them by name."""
    import inspect

    from interwhen.gateway._cli import serve

    assert words[:2] == ["interwhen", "serve"]
    found = dict(word.removeprefix("--").split("=", 1) for word in words[2:])
    names = set(inspect.signature(serve).parameters)
    assert found.keys() <= names, names
    return found


def limits(text):
    found = tomllib.loads(text)
    load_config(found, environment={})
    return found["limits"]


def test_the_composed_gateways_have_time_to_end_their_calls(yaml):
    services = yaml.safe_load((FOLDER / "compose.yaml").read_text())["services"]
    gateway = services["gateway-a"]
    assert services["gateway-b"] == gateway
    given, times = options(gateway["command"]), limits((FOLDER / "interwhen.toml").read_text())
    assert float(gateway["stop_grace_period"].removesuffix("s")) > times["ready_seconds"] + times["drain_seconds"]
    balancer = (FOLDER / "haproxy.cfg").read_text()
    for name in ("gateway-a", "gateway-b"):
        assert f"{name}:{given['port']}" in balancer
        assert name in services["balancer"]["depends_on"]
    assert given["config"] in gateway["volumes"][0]


@pytest.mark.skipif(shutil.which("haproxy") is None, reason="haproxy is not installed")
def test_the_balancer_accepts_its_configuration(tmp_path):
    text = (FOLDER / "haproxy.cfg").read_text().replace("gateway-a", "127.0.0.1").replace("gateway-b", "127.0.0.1")
    (tmp_path / "haproxy.cfg").write_text(text)
    done = subprocess.run(
        ["haproxy", "-c", "-f", tmp_path / "haproxy.cfg"], check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


def test_the_parts_on_kubernetes_fit_together(yaml):
    config, deployment, service = yaml.safe_load_all((FOLDER / "kubernetes.yaml").read_text())
    pod = deployment["spec"]["template"]
    (container,) = pod["spec"]["containers"]
    given, times = options(container["args"]), limits(config["data"]["interwhen.toml"])
    assert pod["spec"]["terminationGracePeriodSeconds"] > times["ready_seconds"] + times["drain_seconds"]
    labels = pod["metadata"]["labels"]
    assert deployment["spec"]["selector"]["matchLabels"] == service["spec"]["selector"] == labels
    (port,) = container["ports"]
    assert port["containerPort"] == int(given["port"])
    assert container["readinessProbe"]["httpGet"] == {"path": "/readyz", "port": port["name"]}
    assert service["spec"]["ports"][0]["targetPort"] == port["name"]
    (mount,), (volume,) = container["volumeMounts"], pod["spec"]["volumes"]
    assert Path(given["config"]).parent == Path(mount["mountPath"])
    assert mount["name"] == volume["name"]
    assert volume["configMap"]["name"] == config["metadata"]["name"]
    assert Path(given["config"]).name in config["data"]
