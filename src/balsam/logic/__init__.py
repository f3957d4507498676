"""What the server does, one transaction each: create, advance, acquire, sweep, explain, measure."""
