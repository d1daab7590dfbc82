"""The trace page: a recorded run as a page of text, evidence and account, in one file or served.

`_page.py` puts the data of runs into the bundled page, `_runs.py` reads the journals of a folder, `_app.py` serves
both, and `_cli.py` is the command. The page's source is in `page/`, and `_page.html` is its bundle. Why:
docs/decisions/trace-page.md.
"""
