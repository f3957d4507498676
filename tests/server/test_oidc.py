"""What a login provider's answers must hold before anybody is logged in with them."""

from __future__ import annotations

import base64
import hashlib
import json
import threading
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, parse_qsl, urlsplit

import httpx
import pytest
from joserfc import jwt
from joserfc.jwk import ECKey, KeySet, OctKey, RSAKey

from balsam.core.errors import Forbidden, ProviderFailed
from balsam.logic.login_requests import Trip
from balsam.server.oidc import Provider, _Kept
from balsam.server.proxied import Proxied
from balsam.server.settings import ServerSettings

ISSUER = "https://login.example/realm"
BACK = "https://balsam.example/auth/oauth/oidc/callback"
TRIP = Trip("state", "secret")
SETTINGS = ServerSettings(
    "sqlite://", oauth_issuer=ISSUER, oauth_client_id="balsam", oauth_client_secret="a b:c"
)
KEY = RSAKey.generate_key(2048, {"kid": "1", "use": "sig"})


class Institute(httpx.BaseTransport):
    """A provider that answers as it is told; `sent` is what it was sent."""

    def __init__(self, **claims: Any) -> None:
        now = int(time.time())
        self.claims: dict[str, Any] = {
            "iss": ISSUER,
            "aud": "balsam",
            "sub": "subject",
            "iat": now,
            "exp": now + 60,
            "nonce": TRIP.nonce,
            "preferred_username": "ada",
            **claims,
        }
        self.metadata: dict[str, Any] = {
            "issuer": ISSUER,
            "authorization_endpoint": f"{ISSUER}/authorize",
            "token_endpoint": f"{ISSUER}/token",
            "userinfo_endpoint": f"{ISSUER}/me",
            "jwks_uri": f"{ISSUER}/keys",
        }
        self.userinfo: dict[str, Any] = {"sub": "subject"}
        self.keys: list[RSAKey | ECKey | OctKey] = [KEY]
        self.header: dict[str, Any] = {"alg": "RS256", "kid": "1"}
        self.id_token: str | None = None
        self.sent: list[httpx.Request] = []
        self.is_away = False

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        self.sent.append(request)
        if self.is_away:
            raise httpx.ConnectTimeout("nobody there")
        answers: dict[str, Callable[[], Any]] = {
            "/realm/.well-known/openid-configuration": lambda: self.metadata,
            "/realm/keys": lambda: KeySet(list(self.keys)).as_dict(),
            "/realm/token": lambda: {"access_token": "at", "id_token": self.id_token or self.signed()},
            "/realm/me": lambda: self.userinfo,
        }
        return httpx.Response(200, json=answers[request.url.path]())

    def signed(self) -> str:
        claims = {name: value for name, value in self.claims.items() if value is not None}
        algorithms = ["RS256", "HS256", "ES256"]
        return jwt.encode(self.header, claims, self.keys[-1], algorithms=algorithms)

    def asked(self, path: str) -> int:
        return sum(request.url.path == path for request in self.sent)


def provider(institute: Institute, **settings: Any) -> Provider:
    return Provider(replace(SETTINGS, **settings), institute)


def test_the_browser_is_sent_with_pkce_state_and_nonce() -> None:
    address = provider(Institute()).address(TRIP, BACK)
    query = dict(parse_qsl(urlsplit(address).query))
    challenge = base64.urlsafe_b64encode(hashlib.sha256(TRIP.verifier.encode()).digest()).decode().rstrip("=")
    assert address.startswith(f"{ISSUER}/authorize?")
    assert query == {
        "response_type": "code",
        "client_id": "balsam",
        "redirect_uri": BACK,
        "scope": "openid profile email",
        "state": "state",
        "nonce": TRIP.nonce,
        "code_challenge": challenge,
        "code_challenge_method": "S256",
    }
    assert TRIP.browser not in address and TRIP.verifier not in address


def test_a_code_becomes_an_identity() -> None:
    institute = Institute()
    identity = provider(institute).identity("code", TRIP, BACK)
    assert (identity.issuer, identity.subject, identity.name) == (ISSUER, "subject", "ada")
    [redeemed] = [one for one in institute.sent if one.url.path == "/realm/token"]
    form = parse_qs(redeemed.content.decode())
    assert form["code_verifier"] == [TRIP.verifier] and form["redirect_uri"] == [BACK]
    assert base64.b64decode(redeemed.headers["authorization"].split()[1]) == b"balsam:a%20b%3Ac"
    assert "client_secret" not in form


def test_a_provider_that_wants_the_secret_in_the_form_gets_it_there() -> None:
    institute = Institute()
    institute.metadata["token_endpoint_auth_methods_supported"] = ["client_secret_post"]
    provider(institute).identity("code", TRIP, BACK)
    [redeemed] = [one for one in institute.sent if one.url.path == "/realm/token"]
    assert parse_qs(redeemed.content.decode())["client_secret"] == ["a b:c"]
    assert "authorization" not in redeemed.headers


@pytest.mark.parametrize(
    "claims",
    [
        {"iss": "https://evil.example"},
        {"aud": "another"},
        {"aud": ["another"]},
        {"aud": ["balsam", "another"]},
        {"aud": ["balsam", "another"], "azp": "another"},
        {"azp": "another"},
        {"nonce": "another"},
        {"nonce": None},
        {"exp": 1_700_000_000},
        {"exp": None},
        {"exp": "tomorrow"},
        {"iat": 9_000_000_000},
        {"iat": None},
        {"sub": None},
        {"sub": ""},
        {"sub": 7},
        {"iss": None},
        {"aud": None},
    ],
    ids=str,
)
def test_an_id_token_that_is_not_for_this_login_logs_nobody_in(claims: dict[str, Any]) -> None:
    with pytest.raises(ProviderFailed, match="the server's log says why"):
        provider(Institute(**claims)).identity("code", TRIP, BACK)


def test_an_id_token_for_several_is_taken_if_it_was_made_for_this_server() -> None:
    institute = Institute(aud=["balsam", "another"], azp="balsam")
    assert provider(institute).identity("code", TRIP, BACK).subject == "subject"


def test_an_id_token_that_somebody_else_signed_logs_nobody_in() -> None:
    institute = Institute()
    forged = RSAKey.generate_key(2048, {"kid": "1", "use": "sig"})
    institute.id_token = jwt.encode({"alg": "RS256", "kid": "1"}, institute.claims, forged)
    with pytest.raises(ProviderFailed):
        provider(institute).identity("code", TRIP, BACK)


def test_an_unsigned_or_symmetric_id_token_logs_nobody_in() -> None:
    institute = Institute()
    part = base64.urlsafe_b64encode(b'{"alg":"none"}').decode().rstrip("=")
    body = institute.signed().split(".")[1]
    institute.id_token = f"{part}.{body}."
    with pytest.raises(ProviderFailed):
        provider(institute).identity("code", TRIP, BACK)
    secret = OctKey.import_key("a secret of the client", {"kid": "2"})
    institute.id_token = jwt.encode({"alg": "HS256", "kid": "2"}, institute.claims, secret)
    institute.keys = [secret]
    with pytest.raises(ProviderFailed):
        provider(institute).identity("code", TRIP, BACK)


def test_a_key_that_is_new_is_fetched_and_others_are_kept() -> None:
    institute = Institute()
    ours = provider(institute)
    for _ in range(2):
        ours.identity("code", TRIP, BACK)
    assert institute.asked("/realm/keys") == 1
    assert institute.asked("/realm/.well-known/openid-configuration") == 1
    institute.keys.append(ECKey.generate_key("P-256", {"kid": "2", "use": "sig"}))
    institute.header = {"alg": "ES256", "kid": "2"}
    with pytest.raises(ProviderFailed):
        ours.identity("code", TRIP, BACK)  # not twice a minute: anybody could make it ask
    fresh = provider(institute)
    assert fresh.identity("code", TRIP, BACK).subject == "subject"


def test_a_name_that_the_id_token_lacks_is_asked_for() -> None:
    institute = Institute(preferred_username=None)
    institute.userinfo = {"sub": "subject", "email": "ada@example.org"}
    assert provider(institute).identity("code", TRIP, BACK).name == "ada@example.org"
    institute.userinfo = {"sub": "somebody else", "email": "eve@example.org"}
    with pytest.raises(ProviderFailed):
        provider(institute).identity("code", TRIP, BACK)
    institute.userinfo = {"sub": "subject", "preferred_username": "a\x1b[31m", "email": " "}
    assert provider(institute).identity("code", TRIP, BACK).name == "subject"


@pytest.mark.parametrize(
    ("groups", "allowed"), [(["staff", "hpc"], True), ("hpc", True), (["hpcx"], False), (None, False)]
)
def test_only_who_has_the_required_claims_may_log_in(groups: object, allowed: bool) -> None:
    ours = provider(Institute(groups=groups), oauth_require=("groups=hpc",))
    if allowed:
        assert ours.identity("code", TRIP, BACK).subject == "subject"
    else:
        with pytest.raises(Forbidden, match="may not use this server"):
            ours.identity("code", TRIP, BACK)


def test_a_provider_that_calls_itself_otherwise_is_not_used(caplog: pytest.LogCaptureFixture) -> None:
    institute = Institute()
    institute.metadata["issuer"] = "https://evil.example"
    with pytest.raises(ProviderFailed):
        provider(institute).address(TRIP, BACK)
    assert "BALSAM_OAUTH_ISSUER" in caplog.text


def test_no_secret_reaches_the_log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    with pytest.raises(ProviderFailed):
        provider(Institute(nonce="another")).identity("a-secret-code", TRIP, BACK)
    for secret in ("a-secret-code", "a b:c", "a%20b%3Ac", TRIP.verifier, TRIP.nonce, TRIP.browser):
        assert secret not in caplog.text


def test_a_provider_that_is_away_is_one_sentence() -> None:
    class Away(httpx.BaseTransport):
        def handle_request(self, request: httpx.Request) -> httpx.Response:
            raise httpx.ConnectError("refused")

    with pytest.raises(ProviderFailed, match="try again"):
        Provider(SETTINGS, Away()).address(TRIP, BACK)


def test_who_comes_after_a_failure_does_not_wait_for_another_one() -> None:
    institute = Institute()
    institute.is_away = True
    asked = provider(institute)
    for _ in range(3):
        with pytest.raises(ProviderFailed, match="could not be used"):
            asked.address(TRIP, BACK)
    assert len(institute.sent) == 1


def test_what_is_known_serves_while_the_provider_can_not_be_asked_anew() -> None:
    institute = Institute()
    kept = _Kept(provider(institute)._discover)
    known = kept.get()
    institute.is_away = True
    assert kept.get(0.0) == known == kept.get(0.0)
    assert institute.asked("/realm/.well-known/openid-configuration") == 2


@pytest.mark.parametrize(
    ("claims", "allowed"),
    [({"email_verified": True}, True), ({"email_verified": False}, False), ({}, False)],
)
def test_a_required_yes_is_written_as_in_json(claims: dict[str, Any], allowed: bool) -> None:
    asked = provider(Institute(**claims), oauth_require=("email_verified=true",))
    if allowed:
        assert asked.identity("code", TRIP, BACK).subject == "subject"
    else:
        with pytest.raises(Forbidden):
            asked.identity("code", TRIP, BACK)


def test_a_claim_that_is_missing_is_no_word() -> None:
    with pytest.raises(Forbidden):
        provider(Institute(), oauth_require=("group=None",)).identity("code", TRIP, BACK)


@pytest.mark.parametrize("subject", [7, "a\x00b"])
def test_a_subject_that_is_no_plain_text_logs_nobody_in(subject: object) -> None:
    with pytest.raises(ProviderFailed):
        provider(Institute(sub=subject)).identity("code", TRIP, BACK)


def test_a_provider_on_this_machine_is_asked_straight_and_others_through_the_proxy_that_errors_name(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The kind: an asker with a proxy handling of its own, which sends what is for this machine elsewhere."""
    answers = ThreadingHTTPServer(("127.0.0.1", 0), _Metadata)
    threading.Thread(target=answers.serve_forever, daemon=True).start()
    issuer = f"http://127.0.0.1:{answers.server_port}"
    environ = {"http_proxy": "http://me:secret@127.0.0.1:9", "HTTPS_PROXY": "nonsense://h"}
    with closing(Provider(replace(SETTINGS, oauth_issuer=issuer), Proxied(environ))) as near:
        assert near.address(TRIP, BACK).startswith(f"{issuer}/authorize?")
    answers.shutdown()
    answers.server_close()
    for away, told in (
        ("http://login.example", "through the proxy http://127.0.0.1:9 that http_proxy names"),
        ("https://login.example", "the variable HTTPS_PROXY holds"),
    ):
        provider = Provider(replace(SETTINGS, oauth_issuer=away), Proxied(environ))
        with closing(provider), pytest.raises(ProviderFailed):
            provider.address(TRIP, BACK)
        assert told in caplog.text and "secret" not in caplog.text


class _Metadata(BaseHTTPRequestHandler):
    """A provider's metadata, and nothing else."""

    def do_GET(self) -> None:
        issuer = f"http://{self.headers['host']}"
        names = ("authorization_endpoint", "token_endpoint", "jwks_uri")
        told = {"issuer": issuer, **dict.fromkeys(names, f"{issuer}/authorize")}
        body = json.dumps(told).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass
