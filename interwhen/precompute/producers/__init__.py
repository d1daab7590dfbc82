"""The shipped producers, found through entry points of the group ``interwhen.producers``."""
