"""The trace page: a recorded run as a page of text, evidence and account, in one file or served.

The page's source is in `page/`, and `_page.html` is its bundle. Why: docs/decisions/trace-page.md.
"""
