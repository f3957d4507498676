"""The login provider: any that speaks OpenID Connect, asked with the authorization code flow and PKCE."""

from __future__ import annotations

import base64
import hashlib
import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar
from urllib.parse import quote, urlencode

import httpx
from joserfc import jwt
from joserfc.errors import InvalidKeyIdError, JoseError
from joserfc.jwk import KeySet

from balsam.core.errors import Forbidden, ProviderFailed
from balsam.core.limits import MAX_NAME_CHARS
from balsam.logic.login_requests import Identity, Trip
from balsam.server.settings import ServerSettings

log = logging.getLogger(__name__)
T = TypeVar("T")

TIMEOUT_SEC = 10.0
FAILED = "the login provider could not be used: try again; the server's log says why"
METADATA_SEC = 3600.0
RETRY_SEC = 10.0  # after a failure nobody is made to wait for another one for so long
NEW_KEYS_SEC = 60.0  # no more often are the keys fetched for a key id that is not among them
LEEWAY_SEC = 60
# Signatures that only the provider can make: no shared secrets, and never none at all.
ALGORITHMS = (
    "RS256",
    "RS384",
    "RS512",
    "PS256",
    "PS384",
    "PS512",
    "ES256",
    "ES384",
    "ES512",
    "Ed25519",
    "EdDSA",
)


@dataclass(frozen=True, slots=True)
class _Metadata:
    authorization: str
    token: str
    userinfo: str | None
    keys: str
    secret_in_body: bool  # the provider takes the client's secret in the form, and not as Basic


class _Kept(Generic[T]):
    """What the provider was asked once; kept where it can't be asked anew."""

    def __init__(self, ask: Callable[[], T]) -> None:
        self._ask = ask
        self._lock = threading.Lock()
        self._value: T | None = None
        self._asked = self._failed = float("-inf")

    def get(self, at_most_sec: float = METADATA_SEC) -> T:
        """Asked within so many seconds, if the provider answers; raises ProviderFailed."""
        with self._lock:
            if time.monotonic() - self._asked > at_most_sec and time.monotonic() - self._failed > RETRY_SEC:
                self._renew()
            if self._value is None:
                raise ProviderFailed(FAILED)
            return self._value

    def _renew(self) -> None:
        try:
            self._value, self._asked = self._ask(), time.monotonic()
        except ProviderFailed:
            self._failed = time.monotonic()


class Provider:
    """Sends browsers there, and learns from the codes with which they come back who their users are."""

    def __init__(self, settings: ServerSettings, transport: httpx.BaseTransport) -> None:
        assert settings.oauth_issuer is not None
        self.name = settings.oauth_name
        self.issuer = settings.oauth_issuer
        self._settings = settings
        self._secret = settings.client_secret()
        self._http = httpx.Client(timeout=TIMEOUT_SEC, transport=transport, trust_env=False)
        self._metadata = _Kept(self._discover)
        self._keys = _Kept(self._fetch_keys)

    def close(self) -> None:
        self._http.close()

    def address(self, trip: Trip, redirect_uri: str) -> str:
        """Where the browser is sent."""
        challenge = hashlib.sha256(trip.verifier.encode()).digest()
        query = {
            "response_type": "code",
            "client_id": self._settings.oauth_client_id,
            "redirect_uri": redirect_uri,
            "scope": self._settings.oauth_scope,
            "state": trip.state,
            "nonce": trip.nonce,
            "code_challenge": base64.urlsafe_b64encode(challenge).rstrip(b"=").decode(),
            "code_challenge_method": "S256",
        }
        endpoint = self._metadata.get().authorization
        return f"{endpoint}{'&' if '?' in endpoint else '?'}{urlencode(query)}"

    def identity(self, code: str, trip: Trip, redirect_uri: str) -> Identity:
        """Who came back with the code; raises ProviderFailed, or Forbidden for whom this server is not."""
        answer = self._redeem(code, trip, redirect_uri)
        claims = self._verified(str(answer.get("id_token")), trip.nonce)
        if self._wanted(claims) is None or self._settings.oauth_require:
            claims = {**self._userinfo(str(answer.get("access_token")), claims["sub"]), **claims}
        self._check_required(claims)
        return Identity(self.issuer, claims["sub"], self._wanted(claims) or claims["sub"][:MAX_NAME_CHARS])

    def _redeem(self, code: str, trip: Trip, redirect_uri: str) -> dict[str, Any]:
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": redirect_uri,
            "code_verifier": trip.verifier,
        }
        client_id, auth = self._settings.oauth_client_id, None
        known = self._metadata.get()
        if self._secret and not known.secret_in_body:
            # Both are form-encoded before they become Basic (RFC 6749, 2.3.1).
            auth = httpx.BasicAuth(quote(client_id, safe=""), quote(self._secret, safe=""))
        else:
            form["client_id"] = client_id
            if self._secret:
                form["client_secret"] = self._secret
        request = self._http.build_request("POST", known.token, data=form)
        return self._ask(request, auth)

    def _verified(self, id_token: str, nonce: str) -> dict[str, Any]:
        """The claims of an ID token that this provider made for this server and this trip."""
        try:
            claims = self._decoded(id_token)
            jwt.JWTClaimsRegistry(
                leeway=LEEWAY_SEC,
                iss={"essential": True, "value": self.issuer},
                aud={"essential": True, "value": self._settings.oauth_client_id},
                exp={"essential": True},
                iat={"essential": True},
                sub={"essential": True},
                nonce={"essential": True, "value": nonce},
                azp={"value": self._settings.oauth_client_id},
            ).validate(claims)
        except (JoseError, ValueError) as exc:
            raise self._failed(f"its ID token is not valid ({exc})") from exc
        if not isinstance(claims["sub"], str) or not claims["sub"].isprintable():
            raise self._failed("its ID token names nobody by a text")
        if isinstance(claims["aud"], list) and len(claims["aud"]) > 1 and "azp" not in claims:
            raise self._failed("its ID token is for several and does not say whom it was made for")
        return claims

    def _decoded(self, id_token: str) -> dict[str, Any]:
        try:
            return jwt.decode(id_token, self._keys.get(), algorithms=ALGORITHMS).claims
        except InvalidKeyIdError:
            # The provider may have changed its keys since.
            return jwt.decode(id_token, self._keys.get(NEW_KEYS_SEC), algorithms=ALGORITHMS).claims

    def _userinfo(self, access_token: str, subject: str) -> dict[str, Any]:
        endpoint = self._metadata.get().userinfo
        if endpoint is None:
            return {}
        headers = {"Authorization": f"Bearer {access_token}"}
        claims = self._ask(self._http.build_request("GET", endpoint, headers=headers))
        if claims.get("sub") != subject:
            raise self._failed("its user info is about somebody else")
        return claims

    def _wanted(self, claims: dict[str, Any]) -> str | None:
        """The name that the user has at the provider."""
        for claim in (self._settings.oauth_username_claim, "preferred_username", "email"):
            name = claims.get(claim)
            if isinstance(name, str) and name.strip() and name.isprintable():
                return name.strip()[:MAX_NAME_CHARS]
        return None

    def _check_required(self, claims: dict[str, Any]) -> None:
        for rule in self._settings.oauth_require:
            claim, _, wanted = rule.partition("=")
            if wanted not in _words(claims.get(claim)):
                log.warning(
                    "a user of the login provider was refused: %s is not as oauth_require wants", claim
                )
                raise Forbidden("your account may not use this server: ask those who run it")

    def _discover(self) -> _Metadata:
        url = self.issuer.rstrip("/") + "/.well-known/openid-configuration"
        found = self._ask(self._http.build_request("GET", url))
        if found.get("issuer") != self.issuer:
            raise self._failed(
                f"it calls itself {found.get('issuer')!r}: set BALSAM_OAUTH_ISSUER to that if it is"
            )
        methods = found.get("token_endpoint_auth_methods_supported", ["client_secret_basic"])
        try:
            return _Metadata(
                authorization=str(found["authorization_endpoint"]),
                token=str(found["token_endpoint"]),
                userinfo=found.get("userinfo_endpoint"),
                keys=str(found["jwks_uri"]),
                secret_in_body="client_secret_basic" not in methods,
            )
        except KeyError as exc:
            raise self._failed(f"it names no {exc.args[0]}") from exc

    def _fetch_keys(self) -> KeySet:
        found = self._ask(self._http.build_request("GET", self._metadata.get().keys))
        try:
            return KeySet.import_key_set(found)  # type: ignore[arg-type]
        except (JoseError, ValueError, KeyError, TypeError) as exc:
            raise self._failed("its keys can't be read") from exc

    def _ask(self, request: httpx.Request, auth: httpx.Auth | None = None) -> dict[str, Any]:
        """Its answer; what is wrong goes to the log without what was sent, which may be a secret."""
        try:
            response = self._http.send(request, auth=auth)
            content = response.json()
        except httpx.HTTPError as exc:
            raise self._failed(f"{request.url.host} does not answer: {exc}") from exc
        except ValueError as exc:
            raise self._failed(f"{request.url.path} answered {response.status_code} and no JSON") from exc
        if response.status_code != 200 or not isinstance(content, dict):
            said = content.get("error") if isinstance(content, dict) else None
            raise self._failed(f"{request.url.path} answered {response.status_code} {said or ''}")
        return content

    def _failed(self, reason: str) -> ProviderFailed:
        log.error("the login provider %s failed: %s", self.issuer, reason)
        return ProviderFailed(FAILED)


def _words(claim: object) -> list[str]:
    """A claim as operators write it: `true` for a yes, nothing for what is not there, each item of a list."""
    if claim is None:
        return []
    items = claim if isinstance(claim, list) else [claim]
    return [str(item).lower() if isinstance(item, bool) else str(item) for item in items]
