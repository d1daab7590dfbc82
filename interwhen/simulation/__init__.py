"""A deterministic simulator: whole worlds from one integer, the real engine inside, virtual time, an independent judge."""
