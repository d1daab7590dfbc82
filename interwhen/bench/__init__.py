"""`interwhen bench`: measures what supervision costs and what verification gains, on this machine.

A simulation is labelled as a simulation. `evaluation/` is `interwhen eval`.
"""
