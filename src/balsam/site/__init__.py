"""The agent of a site: one process, one service per file, each a pure `decide` and a thin loop."""
