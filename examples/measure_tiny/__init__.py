"""What supervision is worth on the small model: bare, supervised, and other ways of spending the same tokens."""
