"""What installing decides: definitions of others, what is ours, what is waited for."""

import pytest
from msgspec.structs import replace

from argosy.api.extensions import CustomResourceDefinition, CustomResourceDefinitionStatus
from argosy.api.kubernetes import Deployment, DeploymentStatus, Pod, Service, ServiceAccount
from argosy.api.names import MANAGED_BY
from argosy.api.objects import Condition, Key, ObjectMeta
from argosy.api.records import Record
from argosy.decide.planning.components import OnCluster
from argosy.decide.planning.installation import INSTALLER, Installation, installation_objects
from argosy.decide.planning.installing import is_installed, is_ours, left_over, named, unavailable, verdict

INSTALLED = installation_objects(Installation(cluster=OnCluster()))


def definition(release: str = "v1.6.1", *versions: str) -> CustomResourceDefinition:
    served = [{"name": name, "served": True} for name in versions or ("v1",)]
    annotations = {"gateway.networking.k8s.io/bundle-version": release} if release else {}
    return CustomResourceDefinition(
        metadata=ObjectMeta(name="gateways.gateway.networking.k8s.io", annotations=annotations),
        spec={"versions": [*served, {"name": "v0", "served": False}]},
    )


def record(kind: type = Service, *, by: str = INSTALLER, manager: str = INSTALLER, name: str = "n") -> Record:
    labels = {MANAGED_BY: by} if by else {}
    return Record(kind, Key("ns", name), "uid", labels, frozenset({manager}))


@pytest.mark.parametrize(
    ("theirs", "installed", "verb", "says"),
    [
        (None, False, "bring", "is not there"),
        (definition("v1.5.0"), True, "bring", "replaces v1.5.0"),
        (definition("v1.6.1"), True, "bring", "replaces v1.6.1"),
        (definition("v1.7.0"), True, "keep", "newer than"),
        (definition("v1.7.0"), False, "keep", "newer than"),
        (definition("v1.4.0"), False, "keep", "older than the v1.6.1"),
        (definition("v1.10.0"), False, "keep", "newer than"),
        (definition(""), False, "keep", "of an unknown release"),
        (definition("v0.8.0", "v1beta1"), False, "refuse", "does not serve v1; install v1.6.1 or newer"),
        (definition("v9.0.0", "v2"), True, "refuse", "does not serve v1"),
    ],
)
def test_definitions_of_others_stay_while_they_serve_what_argosy_needs(
    theirs: CustomResourceDefinition | None, *, installed: bool, verb: str, says: str
) -> None:
    found = verdict(definition(), theirs, installed=installed)
    assert found.verb == verb
    assert says in found.why


def test_a_new_definition_is_not_established_yet() -> None:
    made = definition()
    assert not replace(made, status=CustomResourceDefinitionStatus(conditions=None)).established
    condition = Condition(type="Established", status="True", reason="R")
    assert replace(made, status=CustomResourceDefinitionStatus(conditions=(condition,))).established


def test_only_what_is_labelled_and_written_by_us_is_ours() -> None:
    assert is_installed(record())
    assert not is_installed(record(manager="kubectl"))
    assert not is_installed(record(by=""))
    assert not is_installed(record(by="argosy-gateway", manager="argosy-gateway"))
    assert is_ours(record(by="argosy-gateway", manager="argosy-gateway"))
    assert is_ours(record(by="argosy", manager="argosy-operator"))
    assert not is_ours(record(by="argosy", manager="kubectl"))
    assert not is_ours(record(by="Helm", manager="helm"))
    assert is_ours(record(Pod, by="argosy", manager="kubelet"))


def test_what_an_earlier_version_has_installed_and_nobody_wants_is_left_over() -> None:
    wanted = [replace(INSTALLED[0], metadata=ObjectMeta(name="kept", namespace="ns"))]
    found = [record(type(INSTALLED[0]), name="kept"), record(name="old"), record(name="theirs", manager="somebody")]
    assert left_over(wanted, found) == [found[1]]


def test_objects_are_named_as_far_as_a_sentence_goes() -> None:
    assert named([record()]) == "Service ns/n"
    assert named([record(ServiceAccount, name=str(n)) for n in range(5)]).endswith("ServiceAccount ns/2 and 2 more")


def test_a_record_says_why_it_is_still_there() -> None:
    assert record().why_still_there == "waits for whoever removes it with its owner"
    ending = record()._replace(deleted_at="2026-01-01T00:00:00Z")
    assert ending.why_still_there == "is ending"
    assert ending._replace(finalizers=("a/b",)).why_still_there == "is ending; first a/b"


def test_a_deployment_is_available_once_all_of_its_newest_pods_are() -> None:
    deployment = next(obj for obj in INSTALLED if isinstance(obj, Deployment))
    deployment = replace(deployment, metadata=replace(deployment.metadata, generation=2))
    done = DeploymentStatus(observed_generation=2, replicas=2, updated_replicas=2, available_replicas=2)
    name = deployment.metadata.name
    assert unavailable([replace(deployment, status=done)], []) == {}
    for unfinished in (
        DeploymentStatus(),
        replace(done, observed_generation=1),
        replace(done, available_replicas=1),
        replace(done, updated_replicas=1),
        replace(done, replicas=3),
    ):
        assert list(unavailable([replace(deployment, status=unfinished)], [])) == [name]
    labels = deployment.spec.template.metadata.labels
    pod = Pod(metadata=ObjectMeta(name="p", labels=labels), spec=deployment.spec.template.spec)
    stranger = replace(pod, metadata=ObjectMeta(name="q"))
    said = unavailable([deployment], [pod, stranger])[name]
    assert "p is waiting to start" in said
    assert "q" not in said.replace("replicas", "")
