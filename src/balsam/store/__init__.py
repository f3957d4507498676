"""Every SQL statement and migration. The owner is the first argument after the connection."""
