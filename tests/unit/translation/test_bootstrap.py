import json

from argosy.decide.translation.bootstrap import Address, bootstrap, envoy_arguments


def test_placeholders_pass_into_the_arguments_for_kubernetes_to_replace() -> None:
    config = bootstrap(
        gateway="argosy-system/argosy",
        node="$(POD_NAME)",
        xds=Address(host="$(XDS_HOST)", port="$(XDS_PORT)"),
        admin=Address(host="127.0.0.1", port=19000),
        stats=Address(host="$(POD_IP)", port=19001),
    )
    arguments = envoy_arguments(config, concurrency=3)
    text = arguments[arguments.index("--config-yaml") + 1]
    assert json.loads(text) == config
    for placeholder in ("$(POD_NAME)", "$(XDS_HOST)", "$(XDS_PORT)", "$(POD_IP)"):
        assert placeholder in text
    assert arguments[arguments.index("--concurrency") + 1] == "3"
    assert config["node"] == {"id": "$(POD_NAME)", "cluster": "argosy-system/argosy"}
