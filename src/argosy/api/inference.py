"""Inference Extension: InferencePool, and InferenceModelRewrite under both groups, as far as Argosy uses them.

Sources: inference.networking.k8s.io/v1; llm-d's router, apix/v1alpha2/inferencemodelrewrite_types.go.
"""

from typing import Annotated, ClassVar, Literal

from msgspec import Meta

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


class ModelMatch(Value, frozen=True, kw_only=True):
    """The model that a request must ask for."""

    value: Annotated[str, Meta(min_length=1)]
    type: Literal["Exact"] | None = None


class RewriteMatch(Value, frozen=True, kw_only=True):
    """What a request must be like."""

    model: ModelMatch


class TargetModel(Value, frozen=True, kw_only=True):
    """A model that is served in the place of the one asked for, and its share; the name goes into a header, too."""

    model_rewrite: Annotated[str, Meta(min_length=1, max_length=512, pattern=r"^[^\x00-\x1f\x7f]+\Z")]
    weight: Annotated[int, Meta(ge=1, le=1_000_000)] | None = None


class RewriteRule(Value, frozen=True, kw_only=True):
    """Requests that match any of `matches`, all requests where there is none, and what they become."""

    matches: tuple[RewriteMatch, ...] = ()
    targets: Annotated[tuple[TargetModel, ...], Meta(min_length=1)]

    def __post_init__(self) -> None:
        """Raise `ValueError` where some targets have a weight and others have none."""
        if len({target.weight is None for target in self.targets}) > 1:
            raise ValueError("either all targets have a weight or none has")


class PoolReference(Value, frozen=True, kw_only=True):
    """A pool of the same namespace."""

    name: str
    group: str | None = None
    kind: str | None = None


class InferenceModelRewriteSpec(Value, frozen=True, kw_only=True):
    """Whose requests are rewritten, and how."""

    pool_ref: PoolReference
    rules: tuple[RewriteRule, ...] = ()


class InferenceModelRewrite(Object, frozen=True, kw_only=True):
    """Models of a pool that are served under other names."""

    API_VERSION: ClassVar[str] = "llm-d.ai/v1alpha2"
    KIND: ClassVar[str] = "InferenceModelRewrite"
    PLURAL: ClassVar[str] = "inferencemodelrewrites"

    spec: InferenceModelRewriteSpec


class OlderInferenceModelRewrite(InferenceModelRewrite, frozen=True, kw_only=True):
    """The same under the group that it had in the Inference Extension; not read where the newer one is served."""

    API_VERSION: ClassVar[str] = "inference.networking.x-k8s.io/v1alpha2"
