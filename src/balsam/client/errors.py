"""What can go wrong between a program and the server, as one tree.

ClientError
├── ServerUnreachable   no answer in time, or nobody listens there (also a TimeoutError)
│   ├── ServerUntrusted no secure connection: its certificate is not trusted here, for instance
│   └── NoBalsamServer  something else answers there: another program, a proxy, a page to log in
├── ServerRefused       any 4xx: raised at once, with the server's sentence
│   ├── AuthError       401: the login is not valid (any more)
│   ├── NotFoundError   404: no such object, or somebody else's
│   └── SomeRefused     a bulk update of which some items were refused, others applied
├── ServerFault         5xx or 429, still so after a bounded retry
├── UnusableProxy       a variable of the environment names no proxy that can be used
├── BadAddress          a server's address that is none (also a ValueError)
├── NotLoggedIn         no login is configured
├── NoHome              this user has no home folder, where a login would be
├── BrokenLogin         the login file can't be read (also a ValueError)
├── LoginBusy           other processes hold the login file's lock
└── LoginRefused        a login by browser was refused, or took too long
"""

from __future__ import annotations


class ClientError(Exception):
    """Something went wrong on the way to the server or back."""


class ServerUnreachable(ClientError, TimeoutError):
    """Nobody answered at the URL within the time given to retries."""

    remedy = "check that it runs (`balsam server status`) and that this machine can reach it"

    def __init__(self, api_root: str, reason: str, remedy: str | None = None, way: str = "") -> None:
        """`way`: how the request went there, if not straight."""
        super().__init__(
            f"no answer from the Balsam server at {api_root}{way and ' ' + way} ({reason}): "
            f"{remedy or self.remedy}"
        )
        self.api_root = api_root
        self.reason = reason


class ServerUntrusted(ServerUnreachable):
    """No secure connection: its certificate is not trusted here, say; asking again will not help."""


class NoBalsamServer(ServerUnreachable):
    """What answers at the URL is no Balsam server; asking again at once will not help."""

    remedy = "check the address; a proxy, or a page on which this network wants a login, may stand before it"


class UnusableProxy(ClientError):
    """A proxy that is named in the environment, and that no request can go through."""


class BadAddress(ClientError, ValueError):
    """A server's address that is none."""


class ServerRefused(ClientError):
    """The server understood the request and refused it; asking again will not help."""

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status
        self.sentence = sentence


class AuthError(ServerRefused):
    """The login has expired, was revoked, or never was one."""

    def __init__(self, api_root: str, sentence: str = "") -> None:
        said = f" (the server says: {sentence})" if sentence else ""
        super().__init__(401, f"your login at {api_root} is not valid (any more): run `balsam login`{said}")


class NotFoundError(ServerRefused):
    """No such object, or it is somebody else's."""


class SomeRefused(ServerRefused):
    """Some items of a bulk update were refused; the others were applied.

    `applied` and `num_refused`: how many; `refused`: pairs of id and reason of the first ones.
    """

    def __init__(self, applied: int, num_refused: int, refused: list[tuple[int, str]]) -> None:
        shown = "; ".join(reason for _, reason in refused[:3])
        left_out = num_refused - min(3, len(refused))
        more = f"; and {left_out} more" if left_out else ""
        were = "update was" if applied == 1 else "updates were"
        super().__init__(409, f"{applied} {were} applied and {num_refused} refused: {shown}{more}")
        self.applied = applied
        self.num_refused = num_refused
        self.refused = refused


class ServerFault(ClientError):
    """The server failed (5xx), or has too much to do for this client (429), and stayed so."""

    def __init__(
        self, status: int, sentence: str, request_id: str | None = None, *, before: str | None = None
    ) -> None:
        """`before`: the server's URL, where the answer came from something that stands before it."""
        mark = f" (request {request_id})" if request_id else ""
        said = f"the server failed with {status}: {sentence}; see the server's log{mark}"
        if before is not None:
            said = (
                f"what stands before the Balsam server at {before} answers {sentence}: does the server run?"
            )
        super().__init__(sentence if status == 429 and before is None else said)
        self.status = status
        self.request_id = request_id


class NotLoggedIn(ClientError):
    """No login is configured on this machine."""

    def __init__(self, where: str = "") -> None:
        looked = f" (looked for {where})" if where else ""
        super().__init__(
            f"you are not logged in to a Balsam server{looked}: run `balsam login`, "
            "or `balsam server start` for a server of your own"
        )


class NoHome(ClientError):
    """This user has no home folder."""

    def __init__(self) -> None:
        super().__init__(
            "there is no home folder for a login, since HOME is not set and this user has none: set HOME, "
            "or BALSAM_CLIENT_PATH to the path of a login file"
        )


class BrokenLogin(ClientError, ValueError):
    """The login file holds something else than a login."""

    def __init__(self, path: object, reason: str, remedy: str) -> None:
        super().__init__(f"{path} holds no login ({reason}): {remedy}")


class LoginBusy(ClientError):
    """Other processes have been renewing the login for too long, one of them or all in turn."""

    def __init__(self, lock: object) -> None:
        super().__init__(
            f"other processes have held {lock} for a minute: the server does not answer them, or one of them "
            f"is stopped (`fuser {lock}` names it)"
        )


class LoginRefused(ClientError):
    """Whoever was to allow a login by browser did not."""
