"""Which proxy of the environment stands before a server."""

from __future__ import annotations

import urllib.request
from urllib.parse import urlsplit


def scheme_and_host(url: str) -> tuple[str, str]:
    """Return the scheme of *url*, and its host with the port, if it names one."""
    parts = urlsplit(url)
    return parts.scheme, parts.netloc.rpartition("@")[2]


def environment_proxy(scheme: str, host: str) -> str | None:
    """Return the proxy that ``http_proxy``, ``https_proxy``, ``all_proxy`` and ``no_proxy`` ask for, if any.

    On macOS and Windows the system's settings count, too.
    """
    proxies = urllib.request.getproxies()
    proxy = proxies.get(scheme) or proxies.get("all")
    return None if proxy is None or urllib.request.proxy_bypass(host) else proxy
