"""The one HTTP client: no proxies or keys from the environment, no redirects, bounded time and bytes, and only to addresses we may call."""

from __future__ import annotations

import ipaddress
import re
import socket
import ssl
import time
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import lru_cache
from typing import Any
from urllib.parse import urlsplit

import httpcore2
import httpx2
import idna

from jobs.errors import BadInput, ProviderError
from jobs.words import Cause

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
_V4 = ipaddress.IPv4Address

# Where clouds keep the credentials of the machine; never called, whatever a deployment allows.
_METADATA = tuple(
    ipaddress.ip_network(n) for n in ("169.254.0.0/16", "fe80::/10", "fd00:ec2::/32", "100.100.100.200/32", "168.63.129.16/32")
)
_METADATA_NAMES = frozenset({"metadata", "metadata.google.internal", "metadata.goog", "instance-data", "instance-data.ec2.internal"})
# What BATCHUI_ALLOW_PRIVATE_HOSTS opens: loopback, private networks, and 100.64/10 where VPNs put their hosts.
_PRIVATE = tuple(
    ipaddress.ip_network(n)
    for n in ("127.0.0.0/8", "::1/128", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "fc00::/7")
)
_NAT64 = ipaddress.ip_network("64:ff9b::/96")
_NAT64_LOCAL = ipaddress.ip_network("64:ff9b:1::/48")
_V4_COMPATIBLE = ipaddress.ip_network("::/96")
_FORBIDDEN = re.compile(r"[\x00-\x20\x7f\\]")
_NAME = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)")
MAX_SMALL = 64_000_000  # bytes of an answer that is held in memory


def inner_address(address: Address) -> Address:
    """The IPv4 address that an IPv6 one carries (mapped, compatible, 6to4, NAT64), else the address itself."""
    if isinstance(address, _V4):
        return address
    if address.ipv4_mapped:
        return address.ipv4_mapped
    if address.sixtofour:
        return address.sixtofour
    if address in _NAT64 or address in _NAT64_LOCAL or (address in _V4_COMPATIBLE and int(address) > 1):
        return _V4(int(address) & 0xFFFFFFFF)
    return address


def is_callable(address: Address, allow_private: bool) -> bool:
    """Whether this address may be called at all."""
    address = inner_address(address)
    if any(address in net for net in _METADATA) or address.is_multicast or address.is_unspecified:
        return False
    if any(address in net for net in _PRIVATE):
        return allow_private
    return address.is_global


def resolve(host: str, port: int) -> list[Address]:
    """All addresses of a host. OSError where it is not found."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(ipaddress.ip_address(str(entry[4][0]).partition("%")[0]) for entry in found))


def check_base_url(url: str, allow_private: bool = False, *, look_up: bool = True) -> str:
    """The base URL in its one plain form. BadInput, in words, where it is no URL of an API that we may call.

    With `look_up` the host's addresses are checked now as well as at each call; a host that is not found passes here.
    """
    text = url.strip()
    if _FORBIDDEN.search(text):
        raise BadInput("The base URL has characters that a URL cannot have.")
    try:
        parts = urlsplit(text)
        port, name = parts.port, parts.hostname or ""
    except ValueError:
        raise BadInput("The base URL cannot be read as a URL.", "It looks like https://api.example.com/v1.") from None
    if parts.scheme not in ("https", "http") or not parts.netloc:
        allowed = "https:// or http://" if allow_private else "https://"
        raise BadInput(f"The base URL must start with {allowed}.", "It looks like https://api.example.com/v1.")
    if parts.scheme == "http" and not allow_private:
        raise BadInput("The base URL must start with https://.", "Over http:// anyone on the way could read the key.")
    if "@" in parts.netloc:
        raise BadInput("The base URL must not hold a user name or password.", "The key has its own field.")
    if "?" in text or "#" in text or ".." in parts.path.split("/"):
        raise BadInput("The base URL must end with its path.", "Take away what begins with ? or #, and any “..”.")
    host = _plain_host(name)
    if port == 0 or (not allow_private and port not in (None, 443)):
        raise BadInput(f"Port {port} is not allowed.", "Only 443 is, unless the deployment allows private hosts.")
    _check_host(host, port or (443 if parts.scheme == "https" else 80), allow_private, look_up)
    shown = f"[{host}]" if ":" in host else host
    return f"{parts.scheme}://{shown}{f':{port}' if port else ''}{parts.path.rstrip('/')}"


def _plain_host(name: str) -> str:
    """A host name in ASCII or an address in its usual form; BadInput for all the forms that parsers read differently."""
    if ":" in name:
        try:
            return str(ipaddress.IPv6Address(name)) if "%" not in name else _bad_host(name)
        except ValueError:
            _bad_host(name)
    try:
        host = name if name.isascii() else idna.encode(name, uts46=True).decode()
    except (idna.IDNAError, UnicodeError):
        _bad_host(name)
    host = host.lower().removesuffix(".")
    labels = host.split(".")
    if len(host) > 253 or not all(_NAME.fullmatch(label) for label in labels):
        _bad_host(name)
    if labels[-1].isdecimal() or labels[-1].startswith("0x"):
        try:
            return str(_V4(host))
        except ValueError:
            raise BadInput(f"“{name}” is a number in an unusual form.", "Write the address as four numbers with dots.") from None
    return host


def _bad_host(name: str) -> str:
    raise BadInput(f"“{name[:100]}” is not a host name." if name else "The base URL has no host name.")


def _check_host(host: str, port: int, allow_private: bool, look_up: bool) -> None:
    is_local = host == "localhost" or host.endswith(".localhost")
    if host in _METADATA_NAMES or (is_local and not allow_private):
        raise BadInput(f"“{host}” must not be called from here.", _ASK)
    try:
        addresses: list[Address] = [ipaddress.ip_address(host)]
    except ValueError:
        try:
            addresses = resolve(host, port) if look_up else []
        except (OSError, UnicodeError):
            addresses = []  # the guard at the socket decides when it is found
    if not all(is_callable(address, allow_private) for address in addresses):
        raise BadInput(f"“{host}” leads to an address that must not be called from here.", _ASK)


_ASK = "Private and local addresses are open only where the deployment says so (BATCHUI_ALLOW_PRIVATE_HOSTS)."


@dataclass(frozen=True, slots=True)
class Bounds:
    """Until when (monotonic seconds) and how many bytes one call may take."""

    until: float | None = None
    max_bytes: int = MAX_SMALL


_UNBOUND = Bounds()
_bounds: ContextVar[Bounds] = ContextVar("batchui_http_bounds", default=_UNBOUND)


@contextmanager
def within(seconds: float, max_bytes: int = MAX_SMALL) -> Iterator[None]:
    """All of a call, connecting and reading included, within so many seconds and bytes. A slow drip does not stretch it."""
    token = _bounds.set(Bounds(time.monotonic() + seconds, max_bytes))
    try:
        yield
    finally:
        _bounds.reset(token)


def _left(timeout: float | None, late: type[Exception]) -> float | None:
    until = _bounds.get().until
    if until is None:
        return timeout
    left = until - time.monotonic()
    if left <= 0:
        raise late("the whole call took too long")
    return left if timeout is None else min(timeout, left)


class _TimedStream(httpcore2.NetworkStream):
    """A socket whose every step ends with the deadline of the call."""

    def __init__(self, inner: httpcore2.NetworkStream) -> None:
        self._inner = inner

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._inner.read(max_bytes, _left(timeout, httpcore2.ReadTimeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._inner.write(buffer, _left(timeout, httpcore2.WriteTimeout))

    def close(self) -> None:
        self._inner.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore2.NetworkStream:
        return _TimedStream(self._inner.start_tls(ssl_context, server_hostname, _left(timeout, httpcore2.ConnectTimeout)))

    def get_extra_info(self, info: str) -> Any:
        return self._inner.get_extra_info(info)


class GuardedBackend(httpcore2.NetworkBackend):
    """Connects to an address that was checked, and to no other: a name that answers differently the second time gains nothing."""

    def __init__(self, allow_private: bool) -> None:
        self._allow_private = allow_private
        self._inner = httpcore2.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore2.NetworkStream:
        try:
            addresses = resolve(host, port)
        except (OSError, UnicodeError) as exc:
            raise httpcore2.ConnectError(str(exc)) from exc
        if not addresses or not all(is_callable(address, self._allow_private) for address in addresses):
            raise ProviderError(f"“{host}” leads to an address that must not be called from here. {_ASK}", cause=Cause.INVALID_REQUEST)
        for i, address in enumerate(addresses):
            try:
                left = _left(timeout, httpcore2.ConnectTimeout)
                return _TimedStream(self._inner.connect_tcp(str(address), port, left, local_address, socket_options))
            except (httpcore2.ConnectError, httpcore2.ConnectTimeout):
                if i == len(addresses) - 1:
                    raise
        raise AssertionError("unreachable")


class _Bounded(httpx2.SyncByteStream):
    """The body of an answer, inflated here if it comes deflated against our wish, never more than allowed."""

    def __init__(self, inner: Any, deflated: bool) -> None:
        self._inner = inner
        self._deflated = deflated

    def __iter__(self) -> Iterator[bytes]:
        most, seen = _bounds.get().max_bytes, 0
        for chunk in self._inflate() if self._deflated else self._inner:
            seen += len(chunk)
            if seen > most:
                raise ProviderError(f"The answer is longer than {most:,} bytes.", cause=Cause.PROVIDER_ERROR, code="too_long")
            yield chunk

    def _inflate(self) -> Iterator[bytes]:
        engine = zlib.decompressobj(47)  # gzip and zlib
        try:
            for chunk in self._inner:
                while chunk:
                    yield engine.decompress(chunk, 1 << 16)
                    chunk = engine.unconsumed_tail
        except zlib.error as exc:
            raise httpx2.DecodingError(str(exc)) from exc
        if not engine.eof:
            raise httpx2.RemoteProtocolError("the compressed answer ends too early")

    def close(self) -> None:
        self._inner.close()


@lru_cache(maxsize=1)
def _tls() -> ssl.SSLContext:
    return httpx2.create_ssl_context(trust_env=False)


class GuardedTransport(httpx2.HTTPTransport):
    """httpx2's transport on our own network backend; it has no parameter for one, so the pool is made here."""

    def __init__(self, allow_private: bool) -> None:
        limits = httpx2.Limits(max_connections=64, max_keepalive_connections=16)
        self._pool = httpcore2.ConnectionPool(
            ssl_context=_tls(),
            max_connections=limits.max_connections,
            max_keepalive_connections=limits.max_keepalive_connections,
            keepalive_expiry=15.0,
            network_backend=GuardedBackend(allow_private),
        )

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        response = super().handle_request(request)
        encoding = response.headers.get("content-encoding", "").strip().lower()
        if encoding in ("", "identity"):
            response.stream = _Bounded(response.stream, deflated=False)
            return response
        if encoding not in ("gzip", "x-gzip", "deflate"):
            response.close()
            raise httpx2.DecodingError(f"the answer is encoded as {encoding[:40]}, which was not asked for")
        headers = [(k, v) for k, v in response.headers.raw if k.lower() not in (b"content-encoding", b"content-length")]
        stream = _Bounded(response.stream, deflated=True)
        return httpx2.Response(response.status_code, headers=headers, stream=stream, extensions=response.extensions)


def make_client(allow_private: bool, timeout: float) -> httpx2.Client:
    """The client that adapters hand to their SDK. `timeout` bounds each step; `within` bounds the whole call."""
    return httpx2.Client(
        transport=GuardedTransport(allow_private),
        trust_env=False,
        follow_redirects=False,
        timeout=httpx2.Timeout(timeout, connect=min(10.0, timeout)),
        headers={"Accept-Encoding": "identity"},
    )
