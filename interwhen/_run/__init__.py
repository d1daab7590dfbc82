"""Starts, resumes, replays and rechecks runs."""
