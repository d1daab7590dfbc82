"""A deterministic simulator: generated worlds, the real engine in virtual time, and invariants that check plays.

``interwhen simulate`` runs the simulator. See docs/decisions/0013-the-simulator.md.
"""
