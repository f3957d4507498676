"""Sending a message by mail, through the mail server that the operator has named."""

from __future__ import annotations

import smtplib
import ssl
from dataclasses import dataclass
from email.headerregistry import Address
from email.message import EmailMessage
from typing import Any

from balsam.core.alerts import DELIVERY_HEADER, PLAIN_MAIL
from balsam.core.errors import DeliveryFailed, Invalid

Row = dict[str, Any]
MAX_SUBJECT_CHARS = 150
PERMANENT = range(500, 600)


@dataclass(frozen=True, slots=True)
class Mailer:
    """`security`: starttls, tls or none. `domains`: of those who may be written to; () is all."""

    host: str
    port: int
    security: str
    sender: str
    trust: ssl.SSLContext
    timeout_sec: float
    user: str = ""
    password: str = ""
    domains: tuple[str, ...] = ()

    def check(self, address: str) -> None:
        """Raises Invalid where nobody can be written to there."""
        if not PLAIN_MAIL.fullmatch(address):
            raise Invalid("a mail's address is one plain address, such as ada@example.org")
        domain = address.rpartition("@")[2].lower()
        if self.domains and domain not in {one.lower() for one in self.domains}:
            raise Invalid(f"this server sends mail to these domains only: {', '.join(self.domains)}")

    def send(self, delivery: Row) -> None:
        """Returns when the mail server has taken it; raises DeliveryFailed."""
        try:
            self.check(delivery["address"])
        except Invalid as exc:
            raise DeliveryFailed(exc.sentence, permanent=True) from None
        try:
            with self._connected() as smtp:
                if self.user:
                    smtp.login(self.user, self.password)
                smtp.send_message(written(delivery, self.sender), self.sender, [delivery["address"]])
        except smtplib.SMTPRecipientsRefused as exc:
            code, _ = next(iter(exc.recipients.values()))
            raise DeliveryFailed(f"the mail server refuses the address ({code})", code in PERMANENT) from None
        except smtplib.SMTPAuthenticationError as exc:
            raise DeliveryFailed(f"the mail server refuses this server's login ({exc.smtp_code})") from None
        except smtplib.SMTPResponseException as exc:
            raise DeliveryFailed(f"the mail server answered {exc.smtp_code}") from None
        except smtplib.SMTPException as exc:
            raise DeliveryFailed(f"the mail server could not be used: {type(exc).__name__}") from None
        except OSError as exc:
            reason = exc.strerror or type(exc).__name__
            raise DeliveryFailed(f"the mail server could not be reached: {reason}") from None

    def _connected(self) -> smtplib.SMTP:
        if self.security == "tls":
            return smtplib.SMTP_SSL(self.host, self.port, timeout=self.timeout_sec, context=self.trust)
        smtp = smtplib.SMTP(self.host, self.port, timeout=self.timeout_sec)
        try:
            if self.security == "starttls":
                smtp.starttls(context=self.trust)
        except BaseException:
            smtp.close()
            raise
        return smtp


def written(delivery: Row, sender: str) -> EmailMessage:
    """The mail; its headers hold nothing that could begin another one."""
    body = delivery["body"]
    mail = EmailMessage()
    mail["Subject"] = _line(f"[Balsam] {body['title']}: {body['text']}")
    mail["From"] = Address("Balsam", addr_spec=sender)
    mail["To"] = Address(addr_spec=delivery["address"])
    mail["Message-ID"] = f"<{delivery['key']}@{sender.rpartition('@')[2]}>"  # the same at each try
    mail["Auto-Submitted"] = "auto-generated"
    mail[DELIVERY_HEADER] = delivery["key"]
    rule = body["rule"]
    mail.set_content(
        f"{_plain(body['text'])}\n\n--\n"
        f"Rule {rule['id']} ({rule['kind']}) of yours at Balsam, {body['time']} UTC. "
        f"`balsam alert ls` tells more, `balsam alert rm {rule['id']}` ends it.\n"
    )
    return mail


def _line(text: str) -> str:
    return " ".join(_plain(text).split())[:MAX_SUBJECT_CHARS]


def _plain(text: str) -> str:
    """Without control characters but ends of lines: sites' names and the like are anybody's text."""
    return "".join(char if char == "\n" or char.isprintable() else " " for char in text)
