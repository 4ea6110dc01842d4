"""Service variables, as Kubernetes gives them to pods."""

from argosy.api.kubernetes import (
    Deployment,
    DeploymentSpec,
    LabelSelector,
    PodSpec,
    PodTemplateSpec,
    Service,
    ServicePort,
    ServiceSpec,
    TemplateMeta,
)
from argosy.api.objects import Key, ObjectMeta
from argosy.apps.local.discovery import service_variables


def service(name: str, namespace: str = "system", selector: str = "gateway") -> Service:
    return Service(
        metadata=ObjectMeta(name=name, namespace=namespace),
        spec=ServiceSpec(selector={"app": selector}, ports=(ServicePort(port=18000, name="xds-grpc"),)),
    )


def deployment(name: str, app: str) -> Deployment:
    template = PodTemplateSpec(metadata=TemplateMeta(labels={"app": app}), spec=PodSpec(containers=()))
    return Deployment(
        metadata=ObjectMeta(name=name, namespace="system"),
        spec=DeploymentSpec(replicas=1, selector=LabelSelector(match_labels={"app": app}), template=template),
    )


def test_a_service_is_found_at_the_address_of_its_first_pod() -> None:
    variables = service_variables(
        "system", [service("my-gateway")], [deployment("gw", "gateway")], lambda key: f"address of {key}"
    )
    assert variables == {
        "MY_GATEWAY_SERVICE_HOST": "address of system/gw-0",
        "MY_GATEWAY_SERVICE_PORT": "18000",
        "MY_GATEWAY_SERVICE_PORT_XDS_GRPC": "18000",
    }


def test_services_of_other_namespaces_and_without_pods_give_no_variables() -> None:
    services = [service("a", namespace="other"), service("b", selector="nobody")]
    assert service_variables("system", services, [deployment("gw", "gateway")], Key.__str__) == {}
