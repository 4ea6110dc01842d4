"""Golden inputs of translation: YAML documents, one for each object, and one `settings` document where wanted."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import yaml

from argosy.api.gateway import Gateway, GatewayClass, HTTPRoute
from argosy.api.inference import InferencePool
from argosy.api.kubernetes import Pod, Service
from argosy.api.objects import Key, decode, encode
from argosy.decide.translation.statuses import ProxyReport
from argosy.decide.translation.translate import Observed, Settings, Translation

TESTDATA = Path(__file__).resolve().parents[1] / "unit" / "translation" / "testdata"
_FIELDS = {
    "classes": GatewayClass,
    "gateways": Gateway,
    "routes": HTTPRoute,
    "pools": InferencePool,
    "pods": Pod,
    "services": Service,
}


class Case(NamedTuple):
    """What translation is given."""

    observed: Observed
    settings: Settings
    proxies: Mapping[Key, tuple[ProxyReport, ...]]


def read_input(name: str) -> Case:
    """Read NAME.in.yaml."""
    return case_of(yaml.safe_load_all((TESTDATA / f"{name}.in.yaml").read_text()))


def case_of(documents: Iterable[dict[str, Any]]) -> Case:
    """Sort documents into objects and settings."""
    documents = list(documents)
    settings: dict[str, Any] = next((each["settings"] for each in documents if "settings" in each), {})
    objects = {
        field: tuple(decode(kind, each) for each in documents if each.get("kind") == kind.KIND)
        for field, kind in _FIELDS.items()
    }
    proxies = {
        Key.parse(gateway): tuple(msgspec.convert(report, ProxyReport) for report in reports)
        for gateway, reports in settings.get("proxies", {}).items()
    }
    where = Settings(
        bind_address=settings.get("bindAddress", "0.0.0.0"),
        picker=Key("argosy-system", "argosy-picker"),
        picker_authority=settings.get("pickerAuthority"),
    )
    return Case(Observed(**objects), where, proxies)


def dumped(translation: Translation) -> str:
    """Give a translation as YAML: statuses first, then what each Gateway's Envoys are sent."""
    statuses = [
        {"kind": each.KIND, "name": str(each.key), "status": encode(each).get("status", {})}
        for each in translation.statuses
    ]
    resources = {str(gateway): msgspec.to_builtins(each) for gateway, each in translation.resources.items()}
    plain = msgspec.json.decode(msgspec.json.encode({"statuses": statuses, "resources": resources}))
    return yaml.dump(plain, Dumper=_Plain, sort_keys=False, width=120)


class _Plain(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002 (the signature is yaml's)
        return True
