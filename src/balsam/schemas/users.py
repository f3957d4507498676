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


class SiteTokenCreate(Wire):
    site_id: Id


class SiteTokenOut(Wire):
    """A token for agents and launchers; the token itself is shown only here."""

    id: int
    site_id: int
    token: str
