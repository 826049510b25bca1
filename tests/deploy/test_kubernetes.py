"""The manifest for Kubernetes: valid by Kubernetes' own schemas, and in accord with the image and the settings."""

from typing import Any

import kubernetes_validate
import pytest
import yaml

from app.settings import Settings
from tests.serving import CHECKOUT

TEXT = (CHECKOUT / "deploy" / "kubernetes" / "gradd.yaml").read_text(encoding="utf-8")
OBJECTS: dict[str, Any] = {found["kind"]: found for found in yaml.safe_load_all(TEXT)}
POD = OBJECTS["Deployment"]["spec"]["template"]["spec"]
(CONTAINER,) = POD["containers"]
PROBES = ("startupProbe", "livenessProbe", "readinessProbe")


@pytest.mark.parametrize("release", ["1.30", "1.33", "1.37"])
@pytest.mark.parametrize("kind", OBJECTS)
def test_an_object_is_valid(kind: str, release: str) -> None:
    kubernetes_validate.validate(OBJECTS[kind], release, strict=True)


def test_a_misspelt_member_is_not_valid() -> None:
    wrong = {**OBJECTS["Service"], "spec": {**OBJECTS["Service"]["spec"], "selektor": {}}}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(wrong, "1.33", strict=True)


def test_the_objects_are_of_the_same_pods() -> None:
    labels = OBJECTS["Deployment"]["spec"]["template"]["metadata"]["labels"]
    for selector in (
        OBJECTS["Deployment"]["spec"]["selector"]["matchLabels"],
        OBJECTS["Service"]["spec"]["selector"],
        OBJECTS["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"],
        *(spread["labelSelector"]["matchLabels"] for spread in POD["topologySpreadConstraints"]),
    ):
        assert selector == labels
    target = OBJECTS["HorizontalPodAutoscaler"]["spec"]["scaleTargetRef"]
    assert (target["kind"], target["name"]) == ("Deployment", OBJECTS["Deployment"]["metadata"]["name"])


def test_the_ports_are_that_of_the_image() -> None:
    assert [(port["name"], port["containerPort"]) for port in CONTAINER["ports"]] == [("http", 8000)]
    assert [port["targetPort"] for port in OBJECTS["Service"]["spec"]["ports"]] == ["http"]
    assert {CONTAINER[probe]["httpGet"]["port"] for probe in PROBES} == {"http"}


def test_liveness_and_readiness_are_asked_at_their_paths() -> None:
    assert [CONTAINER[probe]["httpGet"]["path"] for probe in PROBES] == [
        "/health/live",
        "/health/live",
        "/health/ready",
    ]


def test_every_variable_is_a_setting() -> None:
    fields = Settings.model_fields
    given = {variable["name"].removeprefix("GRADD_").lower(): variable for variable in CONTAINER["env"]}
    assert given.keys() <= fields.keys()
    Settings(**{name: variable["value"] for name, variable in given.items() if "value" in variable})


def test_the_limits_are_those_of_the_compose_file() -> None:
    """Both have 4 GiB and two workers."""
    given = {variable["name"]: variable.get("value") for variable in CONTAINER["env"]}
    service = yaml.safe_load((CHECKOUT / "docker-compose.yml").read_text(encoding="utf-8"))["services"]["gradd"]
    limits = {name: str(value) for name, value in service["environment"].items() if str(value).isdecimal()}
    assert (CONTAINER["resources"]["limits"]["memory"], service["mem_limit"]) == ("4Gi", "4g")
    assert {name: given.get(name) for name in limits} == limits


def test_the_grace_period_is_longer_than_what_is_under_way() -> None:
    (wait,) = {int(CONTAINER["lifecycle"]["preStop"]["exec"]["command"][1])}
    settings = Settings()
    needed = wait + max(settings.stop_timeout_s, settings.timeout_ms / 1000)
    assert POD["terminationGracePeriodSeconds"] >= needed + 5


def test_the_pod_has_no_privileges() -> None:
    assert POD["securityContext"]["runAsNonRoot"]
    assert POD["securityContext"]["runAsUser"] == POD["securityContext"]["runAsGroup"] == 10001
    context = CONTAINER["securityContext"]
    assert context["readOnlyRootFilesystem"]
    assert not context["allowPrivilegeEscalation"]
    assert context["capabilities"] == {"drop": ["ALL"]}
    assert not POD["automountServiceAccountToken"]


def test_a_rolling_update_and_a_drained_node_leave_replicas() -> None:
    assert OBJECTS["Deployment"]["spec"]["strategy"]["rollingUpdate"]["maxUnavailable"] == 0
    assert (
        OBJECTS["PodDisruptionBudget"]["spec"]["maxUnavailable"]
        < OBJECTS["HorizontalPodAutoscaler"]["spec"]["minReplicas"]
    )


def test_no_secret_is_in_the_manifest() -> None:
    assert "Secret" not in OBJECTS
    (store,) = (variable for variable in CONTAINER["env"] if variable["name"] == "GRADD_STORE")
    assert "secretKeyRef" in store["valueFrom"]
