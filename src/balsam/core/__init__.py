"""What every part agrees on: states and legal moves, limits, time and errors. Standard library only."""
