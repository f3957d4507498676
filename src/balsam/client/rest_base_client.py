"""Where published scripts import AuthError from."""

from balsam.client.errors import AuthError

__all__ = ["AuthError"]
