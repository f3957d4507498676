"""How a user logs in: by password, or with a browser, on any machine, while this program waits."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from balsam.client.credentials import renewable_login
from balsam.client.errors import LoginRefused, ServerFault, ServerRefused, ServerUnreachable
from balsam.client.login import Login
from balsam.core.logins import EXPIRED, PENDING, REFUSED, RENEWABLE, LoginMethod

if TYPE_CHECKING:
    from balsam.client.transport import Client


@dataclass(frozen=True)
class Waiting:
    """A login that somebody has to allow in a browser. `page`: where the code can be typed, if anywhere."""

    device_code: str
    user_code: str
    address: str
    page: str | None
    expires_in: float
    interval: float


def offered(client: Client) -> list[LoginMethod]:
    """How users can log in to the client's server, of what this program knows."""
    words = [str(word).removeprefix("LoginMethod.") for word in client.get("/auth/how")]
    return [LoginMethod(word) for word in words if word in set(LoginMethod)]


def by_password(client: Client, username: str, password: str, *, renewable: bool) -> dict[str, Any]:
    """The server's answer; raises AuthError."""
    form = {"username": username, "password": password}
    answer: dict[str, Any] = client.post_form("/auth/password/login", form | _scope(renewable))
    return answer


def begin(client: Client, method: LoginMethod, *, renewable: bool) -> Waiting:
    """A login by device code or browser begins."""
    form = {"client_id": client.key} | _scope(renewable)
    if method is LoginMethod.BROWSER:
        answer = client.post_form("/auth/browser/login", form)
        address, page = answer["address"], None
    else:
        answer = client.post_form("/auth/device/login", form)
        address, page = answer["verification_uri_complete"], answer["verification_uri"]
    return Waiting(
        answer["device_code"], answer["user_code"], address, page, answer["expires_in"], answer["interval"]
    )


def wait(client: Client, waiting: Waiting, sleep: Callable[[float], None] = time.sleep) -> dict[str, Any]:
    """The server's answer once the user has allowed it; raises LoginRefused where they did not in time."""
    form = {
        "grant_type": "urn:ietf:params:oauth:grant-type:device_code",
        "device_code": waiting.device_code,
        "client_id": client.key,
    }
    give_up = time.monotonic() + waiting.expires_in
    while time.monotonic() < give_up:
        sleep(waiting.interval)
        try:
            answer: dict[str, Any] = client.post_form("/auth/device/token", form)
            return answer
        except ServerRefused as exc:
            _raise_unless_pending(exc)
        except (ServerUnreachable, ServerFault):
            continue
    raise LoginRefused("nobody allowed this login in time: run `balsam login` again")


def _raise_unless_pending(exc: ServerRefused) -> None:
    if exc.sentence in (PENDING, "slow_down"):
        return
    if exc.sentence == REFUSED:
        raise LoginRefused("this login was refused in the browser") from exc
    if exc.sentence == EXPIRED:
        raise LoginRefused("nobody allowed this login in time: run `balsam login` again") from exc
    raise exc


def login_of(answer: Mapping[str, Any], api_root: str, username: str | None, ca_file: str | None) -> Login:
    """What is to be stored of the server's answer."""
    if answer.get("refresh_token"):
        return renewable_login(Login(api_root, ca_file=ca_file, username=username), dict(answer))
    expiry = datetime.fromisoformat(answer["expiration"])
    return Login(api_root, answer["access_token"], expiry, ca_file=ca_file)


def _scope(renewable: bool) -> dict[str, str]:
    return {"scope": RENEWABLE} if renewable else {}
