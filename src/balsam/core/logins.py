"""How users log in: the methods, and what renewable logins are asked with. Both ends know these."""

from __future__ import annotations

from enum import StrEnum

# The scope with which our own client asks for a short token that it can renew (OpenID Connect Core, 11).
RENEWABLE = "offline_access"

PENDING = "authorization_pending"
REFUSED = "access_denied"
EXPIRED = "expired_token"


class LoginMethod(StrEnum):
    """Travels with the prefix `LoginMethod.`, as published."""

    PASSWORD = "password"
    DEVICE = "oauth_device"
    BROWSER = "oauth_authcode"

    @property
    def wire(self) -> str:
        return f"LoginMethod.{self.value}"
