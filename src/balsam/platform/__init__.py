"""The machine: its batch scheduler, its nodes, its job template. Knows nothing of Balsam's objects."""
