"""Who carries the messages of alerts: each channel's way out, and what of it this server has."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING, Any

from balsam.core.alerts import Channel
from balsam.core.errors import DeliveryFailed, Invalid
from balsam.server.addresses import Reach
from balsam.server.settings import ServerSettings

if TYPE_CHECKING:
    from balsam.server.mail import Mailer
    from balsam.server.webhooks import Webhooks

Row = dict[str, Any]
NO_MAIL = "this server sends no mail (its operator has set no mail_host): name a webhook"


class Postmen:
    """Made at the first message, since what they need is a good part of a server's memory."""

    def __init__(self, settings: ServerSettings) -> None:
        self._settings = settings
        self._reach = Reach.of(settings.is_of_one_user, settings.alert_hosts)
        self._webhooks: Webhooks | None = None
        self._mailer: Mailer | None = None

    def check(self, channel: Channel, address: str) -> None:
        """Raises Invalid where a message can't be sent there."""
        if channel is Channel.webhook:
            self._reach.check(address)
            return
        if not self._settings.mail_host:
            raise Invalid(NO_MAIL)
        self._mail().check(address)

    def carry(self, delivery: Row) -> None:
        """Returns when the message was taken; raises DeliveryFailed."""
        if Channel(delivery["channel"]) is Channel.webhook:
            self._hook().post(delivery)
        elif self._settings.mail_host:
            self._mail().send(delivery)
        else:
            raise DeliveryFailed(NO_MAIL)

    def _hook(self) -> Webhooks:
        if self._webhooks is None:
            from balsam.server.webhooks import Webhooks

            self._webhooks = Webhooks(self._reach, self._trust(), self._settings.alert_timeout_sec)
        return self._webhooks

    def _mail(self) -> Mailer:
        if self._mailer is None:
            from balsam.server.mail import Mailer

            settings = self._settings
            self._mailer = Mailer(
                host=settings.mail_host,
                port=settings.mail_port,
                security=settings.mail_security,
                sender=settings.mail_from,
                trust=self._trust(),
                timeout_sec=settings.alert_timeout_sec,
                user=settings.mail_user,
                password=settings.mail_password(),
                domains=settings.mail_domains,
            )
        return self._mailer

    def _trust(self) -> ssl.SSLContext:
        context = ssl.create_default_context()
        if self._settings.alert_ca_file is not None:
            context.load_verify_locations(self._settings.alert_ca_file)
        return context
