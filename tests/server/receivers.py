"""What alerts are sent to: a web server and a mail server of the tests, both real, on loopback."""

from __future__ import annotations

import email
import json
import queue
import ssl
import threading
from dataclasses import dataclass, field
from email import policy
from email.message import EmailMessage
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP as Protocol
from aiosmtpd.smtp import AuthResult, Envelope, LoginPassword, Session

from tests.services import free_port


@dataclass(frozen=True)
class Posted:
    """What a webhook got."""

    path: str
    headers: dict[str, str]  # names in lower case
    content: bytes

    @property
    def body(self) -> dict[str, Any]:
        body: dict[str, Any] = json.loads(self.content)
        return body


@dataclass
class Webhook:
    """Answers with `statuses` in their order, then 204; a status of 0 hangs until the end."""

    statuses: list[int] = field(default_factory=list)
    host: str = "127.0.0.1"
    headers: dict[str, str] = field(default_factory=dict)
    trust: ssl.SSLContext | None = None

    def __enter__(self) -> Self:
        self.posted: list[Posted] = []
        self._closing = threading.Event()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                content = self.rfile.read(int(self.headers["content-length"]))
                headers = {name.lower(): value for name, value in self.headers.items()}
                receiver.posted.append(Posted(self.path, headers, content))
                status = receiver.statuses.pop(0) if receiver.statuses else 204
                if status == 0:
                    receiver._closing.wait(60)
                    return
                self.send_response(status)
                for name, value in receiver.headers.items():
                    self.send_header(name, value)
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:
                pass

        self.port = free_port()
        self._server = ThreadingHTTPServer((self.host, self.port), Handler)
        self._server.daemon_threads = True
        if self.trust is not None:
            self._server.socket = self.trust.wrap_socket(self._server.socket, server_side=True)
        self._thread = threading.Thread(target=self._server.serve_forever, args=[0.05], daemon=True)
        self._thread.start()
        return self

    @property
    def url(self) -> str:
        scheme = "http" if self.trust is None else "https"
        return f"{scheme}://{'localhost' if self.trust else self.host}:{self.port}/hook/of-somebody"

    def events(self) -> list[str]:
        return [one.headers["balsam-event"] for one in self.posted]

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closing.set()
        self._server.shutdown()
        self._server.server_close()


@dataclass(frozen=True)
class Mailed:
    """What a mail server took."""

    sender: str
    recipients: list[str]
    mail: EmailMessage
    raw: bytes
    was_encrypted: bool


class MailServer:
    """Takes mail over STARTTLS from who knows the password, unless it is `plain`; `answers` come first."""

    user, password = "balsam", "a mail secret"

    def __init__(self, trust: ssl.SSLContext | None, answers: list[str] | None = None) -> None:
        self.port = free_port()
        self.taken: queue.Queue[Mailed] = queue.Queue()
        self.answers = answers or []
        login: dict[str, Any] = {"auth_required": True, "authenticator": self._authenticate} if trust else {}
        self._controller = Controller(
            self, "127.0.0.1", self.port, tls_context=trust, require_starttls=trust is not None, **login
        )

    def __enter__(self) -> Self:
        self._controller.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._controller.stop()

    def _authenticate(
        self, _server: Protocol, _session: Session, _envelope: Envelope, _mechanism: str, data: object
    ) -> AuthResult:
        right = LoginPassword(self.user.encode(), self.password.encode())
        return AuthResult(success=data == right, handled=False)

    async def handle_RCPT(
        self, _server: Protocol, _session: Session, envelope: Envelope, address: str, _options: list[str]
    ) -> str:
        if self.answers:
            return self.answers.pop(0)
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, _server: Protocol, session: Session, envelope: Envelope) -> str:
        raw = envelope.content
        assert isinstance(raw, bytes) and envelope.mail_from is not None
        mail = email.message_from_bytes(raw, policy=policy.default)
        assert isinstance(mail, EmailMessage)
        encrypted = session.ssl is not None
        self.taken.put(Mailed(envelope.mail_from, list(envelope.rcpt_tos), mail, raw, encrypted))
        return "250 taken"
