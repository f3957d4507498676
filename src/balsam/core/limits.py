"""Sizes and periods that more than one part relies on."""

MAX_ITEMS_PER_BULK_OP = 5_000  # what the published client cuts its calls into
MAX_BULK_ITEMS_ACCEPTED = 10_000  # what the server takes in one call
MAX_PAGE = 100_000
MAX_BOUNDED_COUNT = 100_000  # where a list is to count no further
MAX_EXPLAINED = 1_000  # jobs or allocations of which one answer says why
MAX_JOBS_PER_SESSION_ACQUIRE = 2_048
MAX_PAYLOAD_CHARS = 512_000  # serialized parameters, return value, exception
MAX_CLASS_CHARS = 262_144
MAX_SOURCE_CHARS = 2_000_000
MAX_CODE_PARTS = 2_000  # of an app: functions, classes and values that are told apart
KEPT_VERSIONS = 500  # of an app
MAX_NAME_CHARS = 100
MAX_PATH_CHARS = 1_024
MAX_REPORT_CHARS = 4_096  # of what an agent tells of an allocation; the end of it is kept
MAX_ID = 2**63 - 1
MAX_BODY_BYTES = 64 * 2**20
MAX_STRANGERS_BODY_BYTES = 2**20  # of requests without a valid token

LEASE_SEC = 60.0  # a session that nobody vouches for, without a heartbeat
VOUCHED_LEASE_SEC = 900.0  # a session whose allocation the agent still sees running
TOKEN_TTL_SEC = 48 * 3600
SHORT_TOKEN_TTL_SEC = 15 * 60  # of who can renew it
LOGIN_TTL_SEC = 30 * 24 * 3600  # a renewable login that nobody uses
REFRESH_GRACE_SEC = 60.0  # how long a refresh token serves after its first use
LOGIN_REQUEST_TTL_SEC = 300.0  # how long a program waits for its user's browser
LOGIN_POLL_SEC = 3.0
IDEMPOTENCY_TTL_SEC = 24 * 3600
MAX_FUTURE_STAMP_SEC = 300.0

TAIL_SEC = 10.0  # how long somebody waits for a piece of a job's output
TAIL_HOLD_SEC = 5.0  # how long one who follows it is kept waiting for more
MAX_TAIL_BYTES = 64 * 1024  # of output in one answer
MAX_ANSWER_BYTES = 2**20  # of a session to a message
KILL_SEC = 24 * 3600.0  # how long a launcher is told of a kill; the kill itself lasts until it has its way
DRAIN_SEC = 7 * 24 * 3600.0  # ... and to drain; longer than an allocation lasts

DEFAULT_MAX_RESTARTS = 50
ERROR_TAIL_CHARS = 8_000

# From one address: so many at once, then one every so many seconds.
REGISTRATIONS_AT_ONCE = 100
REGISTRATION_SEC = 30.0
