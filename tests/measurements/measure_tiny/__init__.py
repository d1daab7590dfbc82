"""Measure supervision on the tiny model: bare, supervised, and other ways of spending the same tokens."""
