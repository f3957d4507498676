"""Users and their logins."""

from pydantic import Field

from balsam.schemas.types import Id, Name, Text, Wire


class UserCreate(Wire):
    username: Name
    password: Text = Field(min_length=1, max_length=1024)


class UserOut(Wire):
    id: int
    username: str


class LoginOut(Wire):
    access_token: str
    token_type: str = "bearer"
    expiration: str  # naive UTC ISO text
    # Of a renewable login only:
    expires_in: float | None = None  # seconds
    refresh_token: str | None = None


class DeviceLoginOut(Wire):
    """A login that waits for its user to type a code; `expires_in` and `interval` in seconds."""

    device_code: str
    user_code: str
    verification_uri: str
    verification_uri_complete: str
    expires_in: float
    interval: float


class BrowserLoginOut(Wire):
    """A login that waits for its user to open an address; `user_code` is what the page then shows."""

    device_code: str
    user_code: str
    address: str
    expires_in: float
    interval: float


class RecordedLogin(Wire):
    """A login that is open; times are naive UTC ISO text, `current` is the one that asks."""

    id: int
    method: str
    created: str
    used: str
    expires: str
    current: bool


class SiteTokenCreate(Wire):
    site_id: Id


class SiteTokenOut(Wire):
    """A token for agents and launchers; the token itself is shown only here."""

    id: int
    site_id: int
    token: str


class EntryCodeOut(Wire):
    """What a person types into the login page of a server of their own, within so many seconds."""

    code: str
    expires_in: float
