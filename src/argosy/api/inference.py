"""Inference Extension (inference.networking.k8s.io/v1): InferencePool, as far as Argosy uses it."""

from typing import ClassVar

from argosy.api.gateway import ParentReference
from argosy.api.kubernetes import LabelSelector
from argosy.api.objects import Condition, Object, Value

GROUP = "inference.networking.k8s.io"


class TargetPort(Value, frozen=True, kw_only=True):
    """One port of every pod; each is an endpoint of its own."""

    number: int


class PickerPort(Value, frozen=True, kw_only=True):
    """A Service's port."""

    number: int


class EndpointPickerRef(Value, frozen=True, kw_only=True):
    """The picker of a pool; the gateway's shared picker where absent."""

    name: str
    group: str | None = None
    kind: str | None = None
    port: PickerPort | None = None
    failure_mode: str | None = None


class InferencePoolSpec(Value, frozen=True, kw_only=True):
    """Which pods, which ports, which picker."""

    selector: LabelSelector
    target_ports: tuple[TargetPort, ...]
    app_protocol: str | None = None
    endpoint_picker_ref: EndpointPickerRef | None = None


class PoolParentStatus(Value, frozen=True, kw_only=True):
    """What one gateway says of a pool."""

    parent_ref: ParentReference
    controller_name: str | None = None
    conditions: tuple[Condition, ...] = ()


class InferencePoolStatus(Value, frozen=True, kw_only=True):
    """What the gateways say."""

    parents: tuple[PoolParentStatus, ...] = ()


class InferencePool(Object, frozen=True, kw_only=True):
    """Pods that serve one model."""

    API_VERSION: ClassVar[str] = f"{GROUP}/v1"
    KIND: ClassVar[str] = "InferencePool"
    PLURAL: ClassVar[str] = "inferencepools"

    spec: InferencePoolSpec
    status: InferencePoolStatus = InferencePoolStatus()
