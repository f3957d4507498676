"""The same users as the tests of the SDK."""

from tests.sdk.accounts import accounts, new_user

__all__ = ["accounts", "new_user"]
