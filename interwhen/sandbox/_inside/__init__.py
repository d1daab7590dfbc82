"""What runs between us and an untrusted program, in a process of its own: the standard library only."""
