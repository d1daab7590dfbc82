"""The files for containers and Kubernetes: their syntax, the options in them, times that fit, and few rights."""

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
def test_deployment_files_are_clean_and_marked_not_run(name):
    pytest.importorskip("yamllint")
    from yamllint import linter
    from yamllint.config import YamlLintConfig

    text = (FOLDER / name).read_text()
    assert list(linter.run(text, YamlLintConfig(RULES))) == []
    assert "Not run" in text.splitlines()[0]


def options(words):
    import inspect

    from interwhen.cli._serve import serve

    assert words[:2] == ["interwhen", "serve"]
    flags = dict(word.removeprefix("--").split("=", 1) for word in words[2:])
    names = {name.replace("_", "-") for name in inspect.signature(serve).parameters}
    assert flags.keys() <= names, names
    return flags


def settings(text):
    table = tomllib.loads(text)
    load_config(table, environment={})
    return table


def user_of_the_image():
    lines = (FOLDER / "Dockerfile").read_text().splitlines()
    user = next(line.removeprefix("USER ") for line in lines if line.startswith("USER "))
    uid, gid = user.split(":")
    (made,) = [line.split() for line in lines if line.startswith("RUN install -d ")]
    assert made[made.index("-o") + 1] == uid
    assert made[made.index("-g") + 1] == gid
    assert "Not built" in lines[0]
    return user, made[-1]


def test_compose_grace_periods_cover_draining(yaml):
    services = yaml.safe_load((FOLDER / "compose.yaml").read_text())["services"]
    gateway, config = services["gateway-a"], settings((FOLDER / "interwhen.toml").read_text())
    given, times = options(gateway["command"]), config["limits"]
    assert services["gateway-b"] | {"volumes": gateway["volumes"]} == gateway
    assert float(gateway["stop_grace_period"].removesuffix("s")) > times["ready_seconds"] + times["drain_seconds"]
    balancer = (FOLDER / "haproxy.cfg").read_text()
    for name in ("gateway-a", "gateway-b"):
        assert f"{name}:{given['port']}" in balancer
        assert name in services["balancer"]["depends_on"]
    assert given["config"] in gateway["volumes"][0]
    assert f"127.0.0.1:{given['port']}/healthz" in gateway["healthcheck"]["test"][-1]


def test_compose_gateways_write_only_to_own_volumes(yaml):
    composed = yaml.safe_load((FOLDER / "compose.yaml").read_text())
    user, folder = user_of_the_image()
    journals = settings((FOLDER / "interwhen.toml").read_text())["journal"]["path"]
    stores = set()
    for name in ("gateway-a", "gateway-b"):
        gateway = composed["services"][name]
        assert (gateway["user"], gateway["read_only"], gateway["cap_drop"]) == (user, True, ["ALL"])
        (key,) = gateway["secrets"]
        assert options(gateway["command"])["keys-file"] == f"/run/secrets/{key}"
        assert key in composed["secrets"]
        store, at = gateway["volumes"][1].split(":")
        assert at == folder == journals
        stores.add(store)
    assert stores == composed["volumes"].keys()


@pytest.mark.skipif(shutil.which("haproxy") is None, reason="haproxy is not installed")
def test_the_balancer_accepts_its_configuration(tmp_path):
    text = (FOLDER / "haproxy.cfg").read_text().replace("gateway-a", "127.0.0.1").replace("gateway-b", "127.0.0.1")
    (tmp_path / "haproxy.cfg").write_text(text)
    done = subprocess.run(
        ["haproxy", "-c", "-f", tmp_path / "haproxy.cfg"], check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


@pytest.fixture
def cluster(yaml):
    return {one["kind"]: one for one in yaml.safe_load_all((FOLDER / "kubernetes.yaml").read_text())}


def test_kubernetes_resources_refer_to_each_other(cluster):
    config, deployment, service = cluster["ConfigMap"], cluster["Deployment"], cluster["Service"]
    pod = deployment["spec"]["template"]
    (container,) = pod["spec"]["containers"]
    given, times = options(container["args"]), settings(config["data"]["interwhen.toml"])["limits"]
    assert pod["spec"]["terminationGracePeriodSeconds"] > times["ready_seconds"] + times["drain_seconds"]
    labels = pod["metadata"]["labels"]
    assert deployment["spec"]["selector"]["matchLabels"] == service["spec"]["selector"] == labels
    (port,) = container["ports"]
    assert port["containerPort"] == int(given["port"])
    assert container["readinessProbe"]["httpGet"] == {"path": "/readyz", "port": port["name"]}
    assert container["livenessProbe"]["httpGet"] == {"path": "/healthz", "port": port["name"]}
    assert service["spec"]["ports"][0]["targetPort"] == port["name"]
    mounts = {mount["name"]: Path(mount["mountPath"]) for mount in container["volumeMounts"]}
    volumes = {volume["name"]: volume for volume in pod["spec"]["volumes"]}
    assert mounts.keys() == volumes.keys()
    assert Path(given["config"]) == mounts["config"] / "interwhen.toml"
    assert volumes["config"]["configMap"]["name"] == config["metadata"]["name"]
    (key,) = cluster["Secret"]["stringData"]
    assert Path(given["keys-file"]) == mounts["client-keys"] / key
    assert volumes["client-keys"]["secret"]["secretName"] == cluster["Secret"]["metadata"]["name"]


def test_pod_runs_unprivileged_and_writes_to_volumes(cluster):
    pod = cluster["Deployment"]["spec"]["template"]["spec"]
    user, folder = user_of_the_image()
    rights, (container,) = pod["securityContext"], pod["containers"]
    assert rights["runAsNonRoot"] is True
    assert f"{rights['runAsUser']}:{rights['runAsGroup']}" == user
    assert rights["fsGroup"] == rights["runAsGroup"]
    own = container["securityContext"]
    assert (own["readOnlyRootFilesystem"], own["allowPrivilegeEscalation"]) == (True, False)
    assert own["capabilities"] == {"drop": ["ALL"]}
    writable = {mount["mountPath"] for mount in container["volumeMounts"] if not mount.get("readOnly")}
    journal = settings(cluster["ConfigMap"]["data"]["interwhen.toml"])["journal"]
    assert writable == {folder, "/tmp"} == {journal["path"], "/tmp"}
    (store,) = [volume["emptyDir"] for volume in pod["volumes"] if volume["name"] == "journals"]
    assert int(store["sizeLimit"].removesuffix("Gi")) << 30 > journal["max_bytes"]
