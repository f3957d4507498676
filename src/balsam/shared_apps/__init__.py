"""Apps to try Balsam with, and to start one's own from."""
