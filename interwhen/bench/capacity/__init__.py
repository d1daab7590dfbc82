"""``interwhen plan measure`` and ``interwhen plan capacity``: what a number of streams needs, and what breaks first.

`_costs.py` has the measured inputs. `_measuring.py` measures them on this machine. `_simulation.py` is the queueing
model, a discrete-event simulation. `_reading.py` reads the model at many streams. `_command.py` has the commands.
docs/scale.md explains the results.
"""
