"""Both transports under their contract."""

import pytest

from argosy.edge.rpc import ext_proc_grpc, ext_proc_http2
from argosy.edge.rpc.ext_proc import Transport
from contracts.transport_contract import TransportContract


class TestHttp2(TransportContract):
    @pytest.fixture
    def transport(self) -> Transport:
        return ext_proc_http2.serve_ext_proc


class TestGrpcio(TransportContract):
    @pytest.fixture
    def transport(self) -> Transport:
        return ext_proc_grpc.serve_ext_proc
