"""The installation on a cluster: hardened, doubled, and of one mind with its rights, policies and pods."""

from collections.abc import Iterable

import pytest

from argosy.api import rbac
from argosy.api.gateway import Gateway, GatewayClass
from argosy.api.kubernetes import Deployment, Namespace, PodSpec, Service, ServiceAccount
from argosy.api.names import MANAGED_BY, PART_OF, SYSTEM_NAMESPACE
from argosy.api.objects import K, Object
from argosy.api.policy import NetworkPolicy, PodDisruptionBudget
from argosy.cli.collector import spans_of_gateways
from argosy.decide.planning.components import OnCluster
from argosy.decide.planning.installation import Installation, installation_objects
from argosy.decide.planning.pods import UNPRIVILEGED
from argosy.decide.translation.tracing import SpanCollector

ON_CLUSTER = installation_objects(Installation(cluster=OnCluster()))
ON_LAPTOP = installation_objects(Installation())


def of(kind: type[K], objects: Iterable[Object] = ON_CLUSTER) -> dict[str, K]:
    return {obj.metadata.name: obj for obj in objects if isinstance(obj, kind)}


def pods() -> dict[str, PodSpec]:
    return {name: deployment.spec.template.spec for name, deployment in of(Deployment).items()}


def test_a_laptop_has_the_same_gateway_and_processes_but_no_operator() -> None:
    assert of(GatewayClass, ON_LAPTOP).keys() == of(GatewayClass).keys()
    assert of(Gateway, ON_LAPTOP)["argosy"].spec == of(Gateway)["argosy"].spec
    assert {"argosy-operator"} == of(Deployment).keys() - of(Deployment, ON_LAPTOP).keys()
    assert all(each.spec.replicas == 1 for each in of(Deployment, ON_LAPTOP).values())


def test_everything_of_a_cluster_says_that_the_installer_keeps_it_and_what_it_is_part_of() -> None:
    for obj in ON_CLUSTER:
        assert obj.metadata.labels[MANAGED_BY] == "argosy-install"
        assert obj.metadata.labels[PART_OF] == "argosy"
    assert {obj.metadata.labels[MANAGED_BY] for obj in ON_LAPTOP} == {"argosy"}


def test_the_namespace_comes_first_and_pods_come_last() -> None:
    assert isinstance(ON_CLUSTER[0], Namespace)
    assert ON_CLUSTER[0].metadata.labels["pod-security.kubernetes.io/enforce"] == "restricted"
    assert all(isinstance(obj, Deployment) for obj in ON_CLUSTER[-3:])


@pytest.mark.parametrize("name", pods())
def test_each_process_runs_under_its_own_account_with_a_token_of_its_own(name: str) -> None:
    assert pods()[name].service_account_name == name
    assert pods()[name].automount_service_account_token is True
    assert of(ServiceAccount)[name].automount_service_account_token is False
    assert [subject.name for subject in of(rbac.ClusterRoleBinding)[name].subjects] == [name]


@pytest.mark.parametrize("name", pods())
def test_each_process_is_doubled_spread_protected_and_restricted(name: str) -> None:
    deployment, pod = of(Deployment)[name], pods()[name]
    assert deployment.spec.replicas == 2
    assert deployment.spec.strategy is not None
    assert deployment.spec.strategy.type == "RollingUpdate"
    budget = of(PodDisruptionBudget)[name].spec
    assert budget.max_unavailable == 1
    assert budget.selector == deployment.spec.selector
    assert all(each.label_selector == deployment.spec.selector for each in pod.topology_spread_constraints)
    assert pod.topology_spread_constraints
    (container,) = pod.containers
    assert container.security_context == UNPRIVILEGED
    assert container.resources is not None
    assert container.resources.requests.keys() == {"cpu", "memory"}
    assert container.resources.limits.keys() == {"memory"}
    assert container.readiness_probe is not None
    assert container.liveness_probe is not None


@pytest.mark.parametrize("name", pods())
def test_services_and_policies_choose_the_pods_that_they_are_for(name: str) -> None:
    labels = of(Deployment)[name].spec.template.metadata.labels
    assert of(Service)[name].spec.selector.items() <= labels.items()
    ports = {port.name for port in pods()[name].containers[0].ports}
    assert {port.target_port for port in of(Service)[name].spec.ports} == ports
    assert of(NetworkPolicy)[name].spec.pod_selector.match_labels.items() <= labels.items()


def test_pickers_serve_tls_and_gateways_know_the_authority_alone() -> None:
    keys = {
        name: [item.key for volume in pod.volumes if volume.secret for item in volume.secret.items]
        for name, pod in pods().items()
    }
    assert keys == {"argosy-operator": [], "argosy-gateway": ["ca.crt"], "argosy-picker": ["tls.crt", "tls.key"]}
    picker, gateway = pods()["argosy-picker"].containers[0], pods()["argosy-gateway"].containers[0]
    assert picker.args[picker.args.index("--tls-dir") + 1] == picker.volume_mounts[0].mount_path
    assert f"{gateway.volume_mounts[0].mount_path}/ca.crt" in gateway.args


def test_a_registry_stands_before_every_image_and_is_told_to_those_who_name_images() -> None:
    made = of(Deployment, installation_objects(Installation(cluster=OnCluster(image_registry="r.example/t/"))))
    for name, deployment in made.items():
        (container,) = deployment.spec.template.spec.containers
        assert container.image.startswith(f"r.example/t/argosy/{name.removeprefix('argosy-')}:")
        assert ("--image-registry" in container.args) == (name != "argosy-picker")


def test_gateways_and_pickers_are_told_of_a_collector_in_opentelemetrys_words() -> None:
    place = OnCluster(collector="http://c:4318", traced_share=0.25)
    for name, deployment in of(Deployment, installation_objects(Installation(cluster=place))).items():
        (container,) = deployment.spec.template.spec.containers
        told = {each.name: each.value for each in container.env if each.name.startswith("OTEL_")}
        expected = {
            "OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318",
            "OTEL_TRACES_SAMPLER": "parentbased_traceidratio",
            "OTEL_TRACES_SAMPLER_ARG": "0.25",
        }
        assert told == ({} if name == "argosy-operator" else expected)
        if told:
            found = spans_of_gateways({key: value or "" for key, value in told.items()})
            assert found == SpanCollector(host="c", port=4318, share=0.25)


def test_pickers_write_decisions_where_there_is_room_for_them() -> None:
    made = of(Deployment, installation_objects(Installation(cluster=OnCluster(decisions_share=0.01))))
    pod = made["argosy-picker"].spec.template.spec
    (container,) = pod.containers
    path = container.args[container.args.index("--decisions-file") + 1]
    assert container.args[container.args.index("--decisions-sample") + 1] == "0.01"
    (mount,) = (each for each in container.volume_mounts if path.startswith(f"{each.mount_path}/"))
    (volume,) = (each for each in pod.volumes if each.name == mount.name)
    assert not mount.read_only
    assert volume.empty_dir


def test_all_but_what_is_the_clusters_lies_in_one_namespace() -> None:
    assert {obj.metadata.namespace for obj in ON_CLUSTER if obj.NAMESPACED} == {SYSTEM_NAMESPACE}
    assert not any(obj.metadata.namespace for obj in ON_CLUSTER if not obj.NAMESPACED)


def test_pickers_read_how_to_schedule_from_a_config_map_that_may_be_missing() -> None:
    pod = pods()["argosy-picker"]
    (volume,) = (each for each in pod.volumes if each.config_map)
    assert volume.config_map is not None
    assert (volume.config_map.name, volume.config_map.optional) == ("argosy-scheduling", True)
    (container,) = pod.containers
    (mount,) = (each for each in container.volume_mounts if each.name == volume.name)
    assert container.args[container.args.index("--scheduling") + 1] == f"{mount.mount_path}/scheduling.yaml"
