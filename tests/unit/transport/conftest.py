import pytest

pytest.register_assert_rewrite("contracts.transport_contract")
