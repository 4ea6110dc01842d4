from argosy.edge.rpc.xds_encoding import CLUSTERS, Encoder

GOOD = {CLUSTERS: [{"name": "a", "connect_timeout": "1s"}]}
BAD = {CLUSTERS: [{"name": "b"}, {"name": "a", "connect_timeout": "1e+06s"}]}
OTHER = {CLUSTERS: [{"name": "c"}]}


def test_a_value_that_is_not_of_its_type_leaves_its_gateway_as_it_was_and_the_others_go_on() -> None:
    encoder = Encoder()
    before = encoder.encode({"one": GOOD, "two": GOOD})
    assert not before.refused
    now = encoder.encode({"one": BAD, "two": OTHER})
    assert now.snapshots["one"] == before.snapshots["one"]
    assert now.snapshots["two"][CLUSTERS].keys() == {"c"}
    assert now.refused.keys() == {"one"}
    assert "1e+06s" in now.refused["one"]
    assert encoder.encode({"one": OTHER, "two": OTHER}).refused == {}


def test_a_gateway_that_was_never_encoded_has_no_snapshot() -> None:
    assert Encoder().encode({"one": BAD, "two": GOOD}).snapshots.keys() == {"two"}


def test_what_did_not_change_is_not_encoded_again_and_gateways_that_left_are_forgotten() -> None:
    encoder = Encoder()
    first = encoder.encode({"one": GOOD}).snapshots["one"][CLUSTERS]["a"]
    assert encoder.encode({"one": GOOD}).snapshots["one"][CLUSTERS]["a"] is first
    assert encoder.encode({}).snapshots == {}
    assert encoder.encode({"one": GOOD}).snapshots["one"][CLUSTERS]["a"] is not first
