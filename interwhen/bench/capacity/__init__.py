"""``interwhen plan measure`` and ``interwhen plan capacity``: what a number of streams needs, and what breaks first.

docs/scale.md explains the results.
"""
