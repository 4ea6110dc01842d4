import pytest

from argosy.api.containers import Container, EnvVar, EnvVarSource, ResourceFieldRef, ResourceRequirements
from argosy.api.kubernetes import Pod, PodSpec, Service, ServicePort, ServiceSpec
from argosy.api.objects import ObjectMeta
from harness.node.values import fields, resources, service_variables

HELD = ResourceRequirements(requests={"cpu": "100m"}, limits={"cpu": "1500m", "memory": "64Mi"})
NODE = {"cpu": "16", "memory": "64Gi", "ephemeral-storage": "1Gi"}


def pod(container: Container) -> Pod:
    metadata = ObjectMeta(name="p", namespace="x", labels={"b": 'two "words"', "a": "1"})
    return Pod(metadata=metadata, spec=PodSpec(containers=(container,)))


@pytest.mark.parametrize(
    ("resource", "divisor", "expected"),
    [
        ("limits.cpu", None, "2"),
        ("limits.cpu", "0", "2"),
        ("limits.cpu", "1m", "1500"),
        ("requests.cpu", "1m", "100"),
        ("limits.memory", None, str(64 * 2**20)),
        ("limits.memory", "1Mi", "64"),
        ("requests.memory", "1Mi", "64"),
        ("limits.ephemeral-storage", "1Gi", "1"),
    ],
)
def test_a_resource_is_counted_in_its_divisor_and_rounded_up(resource: str, divisor: str, expected: str) -> None:
    reference = ResourceFieldRef(resource=resource, divisor=divisor)
    variable = EnvVar(name="X", value_from=EnvVarSource(resource_field_ref=reference))
    container = Container(name="c", image="i", env=(variable,), resources=HELD)
    assert list(resources(container, NODE).values()) == [expected]


def test_fields_tell_of_labels_and_of_the_resources_of_named_containers() -> None:
    container = Container(name="c", image="i", resources=HELD)
    reference = ResourceFieldRef(resource="limits.memory", divisor="1Mi", container_name="c")
    told = fields(pod(container), address="10.244.1.2", host="10.245.1.1", references=[reference])
    assert told["metadata.labels"] == 'a="1"\nb="two \\"words\\""'
    assert told["c/limits.memory/1Mi"] == "64"
    assert told["status.hostIP"] == "10.245.1.1"


def service(name: str, namespace: str, address: str) -> Service:
    ports = (ServicePort(name="http", port=80), ServicePort(name="dns", port=53, protocol="UDP"))
    return Service(
        metadata=ObjectMeta(name=name, namespace=namespace), spec=ServiceSpec(cluster_ip=address, ports=ports)
    )


def test_services_become_variables_as_kubernetes_names_them() -> None:
    services = [service("my-web", "x", "10.96.0.7"), service("other", "y", "10.96.0.8"), service("none", "x", "None")]
    variables = service_variables([*services, service("kubernetes", "default", "10.96.0.1")], "x", links=True)
    assert variables["MY_WEB_SERVICE_HOST"] == "10.96.0.7"
    assert variables["MY_WEB_SERVICE_PORT_DNS"] == "53"
    assert variables["MY_WEB_PORT"] == "tcp://10.96.0.7:80"
    assert variables["MY_WEB_PORT_53_UDP_ADDR"] == "10.96.0.7"
    assert variables["KUBERNETES_SERVICE_HOST"] == "10.96.0.1"
    assert not any(name.startswith(("OTHER", "NONE")) for name in variables)


def test_without_links_only_the_api_server_is_told() -> None:
    services = [service("web", "x", "10.96.0.7"), service("kubernetes", "default", "10.96.0.1")]
    assert {name.partition("_")[0] for name in service_variables(services, "x", links=False)} == {"KUBERNETES"}
