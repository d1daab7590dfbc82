"""The command line. Other packages have commands of their own, most of them in ``_cli.py``."""
