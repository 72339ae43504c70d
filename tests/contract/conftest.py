import pytest

# Shared suites are imported by test modules, and their assertions explain themselves only when rewritten.
pytest.register_assert_rewrite("tests.contract.sender_suite")
