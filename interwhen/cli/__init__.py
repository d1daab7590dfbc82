"""The command line: the commands ``run``, ``resume``, ``replay``, ``recheck``, ``doctor``, ``demo`` and ``verifiers``.

Other commands are in the packages that they belong to, most of them in ``_cli.py``.
"""
