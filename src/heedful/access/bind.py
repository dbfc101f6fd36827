"""Where a server may listen, given what keys there are."""

from __future__ import annotations

import ipaddress

from heedful.errors import Misconfigured


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach the address. An empty host means all addresses."""
    name = host.strip("[]").lower()
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(name.partition("%")[0]).is_loopback
    except ValueError:
        return False


def check_bind(host: str, has_keys: bool) -> None:
    """Nothing, or `Misconfigured`: without keys everyone who can reach the server is its admin."""
    if not has_keys and not is_loopback(host):
        raise Misconfigured(
            f"server.host is {host or 'all addresses'!r} and there are no API keys, so that anyone could do "
            "anything: issue one first (heedful keys issue --scope admin), or listen on 127.0.0.1"
        )
