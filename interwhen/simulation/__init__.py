"""A deterministic simulator: worlds made from integers, the real engine inside, virtual time, an independent judge."""
