from argosy.api.discovery import EndpointSlice
from argosy.api.objects import decode


def test_what_a_server_writes_as_null_is_not_there() -> None:
    raw = {
        "metadata": {"name": "web-1"},
        "addressType": "IPv4",
        "endpoints": None,
        "ports": [{"port": 80, "name": None}],
    }
    read = decode(EndpointSlice, raw)
    assert read.endpoints == ()
    assert read.ports[0].name == ""
