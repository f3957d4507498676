"""What can go wrong on the server, as one tree; the HTTP layer maps each to a status in one file.

BalsamError
├── NotFound          no such object, or somebody else's
├── Conflict          a name that is taken, an object in use
├── Invalid           a request that contradicts itself or names what does not exist
│   └── TooLarge      more items or bytes than one call may carry
├── IllegalMove       a job's state can't change that way
├── NotHolder         the session does not hold the job (the fence)
├── SessionOver       the session has ended or its lease has run out
├── KeyReused         an idempotency key came back with another body
├── Unauthorized      no login, or one that has run out
├── Forbidden         a login that may not do this
├── TooManyAttempts   somebody tries to log in too often
├── ProviderFailed    the login provider did not answer, or not as it must
├── DeliveryFailed    a message that was not taken
├── InvalidSettings   an operator's settings that can't be used
└── WrongSchema       a database of an older or newer program
"""


class BalsamError(Exception):
    """A refusal that a person can read: it names the object and the remedy."""

    def __init__(self, sentence: str) -> None:
        super().__init__(sentence)
        self.sentence = sentence


class NotFound(BalsamError):
    pass


class Conflict(BalsamError):
    pass


class Refused(BalsamError):
    pass


class Invalid(BalsamError):
    pass


class TooLarge(Invalid):
    pass


class KeyReused(BalsamError):
    def __init__(self, key: str) -> None:
        super().__init__(f"idempotency key {key!r} was used before with another body; use a new key")


class Unauthorized(BalsamError):
    pass


class Forbidden(BalsamError):
    pass


class InvalidSettings(BalsamError):
    pass


class WrongSchema(BalsamError):
    pass


class TooManyAttempts(BalsamError):
    """`retry_after_sec`: when the next one is let through."""

    def __init__(self, what: str, retry_after_sec: int) -> None:
        super().__init__(f"too many {what}: try again in {retry_after_sec} s")
        self.retry_after_sec = retry_after_sec


class ProviderFailed(BalsamError):
    pass


class DeliveryFailed(BalsamError):
    """`permanent`: it would not be taken later either."""

    def __init__(self, sentence: str, permanent: bool = False) -> None:
        super().__init__(sentence)
        self.permanent = permanent
