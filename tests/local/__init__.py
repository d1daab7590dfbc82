"""End to end with the model that comes with the package: a real server, a real stream, every way of intervening.

What the model says depends on its weights, so these tests refute and pass by the place of a line, never by its words,
and look at what must hold whatever it says.
"""
