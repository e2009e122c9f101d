"""An address that a sender names -> its video in a file, without a way from there into the operator's own network.

The operator names the hosts. Still, whoever owns such a host chooses what its name resolves to and where it leads on.
So each hop is resolved once, all addresses found must be public, and the connection goes to one of those, not to the
name: a second look-up could find another.
"""

import asyncio
import ipaddress
import re
import socket
import ssl
from collections.abc import Awaitable, Callable, Sequence
from typing import BinaryIO, NamedTuple

import httpx

from serving.refusals import Refusal

MAX_REDIRECTS = 3
DEFAULT_PORTS = {"http": 80, "https": 443}
NAT64 = ipaddress.ip_network("64:ff9b::/96")  # the last 32 bits are an IPv4 address
UNICAST = ipaddress.ip_network("2000::/3")
"""All IPv6 addresses of the public internet."""
SPECIAL = [ipaddress.ip_network(one) for one in ("192.0.0.0/24", "192.88.99.0/24", "2001::/23", "3fff::/20")]
"""What is_global takes for public in some of the Pythons that this runs on, and is not (IANA's registries)."""

Resolve = Callable[[str, int], Awaitable[list[str]]]
"""(host, port) -> its IP addresses, best first. Raises OSError."""


class AllowedHost(NamedTuple):
    """An entry of --allow_urls."""

    name: str
    """In lower case and ASCII; with a dot before it, all hosts below it are meant."""
    port: int | None
    """The only one; None: 80 and 443."""

    def allows(self, host: str, port: int) -> bool:
        is_below = self.name.startswith(".") and host.endswith(self.name)
        is_named = not host.startswith(".") and (is_below or host == self.name)
        return is_named and (port in DEFAULT_PORTS.values() if self.port is None else port == self.port)


def parse_host(entry: str) -> AllowedHost:
    """What an entry says: `host`, `.example.com` or `*.example.com`, each also with `:port`.

    Numbers are no names, so that no way of writing an IP address is ever allowed.

    Raises:
        ValueError: it says something else.
    """
    name, colon, port = entry.strip().partition(":")
    name = name.removeprefix("*") if name.startswith("*.") else name
    dot = "." if name.startswith(".") else ""
    name = name.removeprefix(dot)
    try:  # a name in other letters is looked up, and comes in an address, in ASCII
        name = httpx.URL(scheme="http", host=name).raw_host.decode()
    except (httpx.InvalidURL, ValueError):
        name = ""
    is_name = re.fullmatch(r"[a-z0-9_-]+(\.[a-z0-9_-]+)*", name) and not re.search(r"(^|\.)(\d+|0x[0-9a-f]*)$", name)
    if not is_name or (colon and not (re.fullmatch("[0-9]{1,5}", port) and 1 <= int(port) <= 65535)):
        raise ValueError(f"{entry[:100]!r} is no host to allow; write example.com, .example.com or example.com:8443")
    return AllowedHost(dot + name, int(port) if colon else None)


async def resolve_host(host: str, port: int) -> list[str]:
    """The IP addresses of a host, as the system knows them. Raises OSError."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(info[4][0]) for info in found))


def is_public(address: str) -> bool:
    """Whether an IP address belongs to the public internet, and an IPv4 address inside it too."""
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return False
    if isinstance(ip, ipaddress.IPv4Address):
        return ip.is_global and not ip.is_multicast and not _is_special(ip)
    if ip.scope_id or ip.teredo:
        return False
    inside = ip.ipv4_mapped or ip.sixtofour or (ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF) if ip in NAT64 else None)
    return is_public(str(inside)) if inside else ip in UNICAST and ip.is_global and not _is_special(ip)


def _is_special(ip: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    return any(ip in network for network in SPECIAL)


class Fetcher:
    """Fetches videos from hosts that the operator allows.

    Args:
        hosts: see `parse_host`; without any, no address is taken.
        max_bytes: of a video.
        timeout_sec: for a video, all hops and look-ups included.
        resolve, is_public: for tests, whose server is on this machine.

    Raises:
        ValueError: one of the hosts is none.
    """

    def __init__(
        self,
        hosts: Sequence[str],
        max_bytes: int,
        timeout_sec: float,
        resolve: Resolve = resolve_host,
        is_public: Callable[[str], bool] = is_public,
    ):
        self._hosts = [parse_host(entry) for entry in hosts]
        self._max_bytes = max_bytes
        self._timeout_sec = timeout_sec
        self._resolve = resolve
        self._is_public = is_public
        self._tls = httpx.create_ssl_context(trust_env=False)  # once: it takes long

    async def fetch(self, url: str, target: BinaryIO) -> None:
        """Write the video at an address to a file; after a refusal, the file may hold a part of it.

        Raises:
            Refusal: 422, the address is not allowed or gives no video; 413, it gives a larger one than is taken.
            OSError: the target cannot be written.
        """
        if not self._hosts:
            raise Refusal(
                422, "addresses are not taken here; send the video itself, or start the server with --allow_urls"
            )
        try:
            await asyncio.wait_for(self._follow(url, target), self._timeout_sec)
        except asyncio.TimeoutError as error:
            raise Refusal(422, f"the address takes longer than {self._timeout_sec:g} s") from error
        except (httpx.HTTPError, ssl.SSLError) as error:  # whose text may say what is none of the sender's business
            raise Refusal(422, f"the address cannot be fetched ({type(error).__name__})") from error

    async def _follow(self, url: str, target: BinaryIO) -> None:
        place = _parsed(url)
        for _ in range(1 + MAX_REDIRECTS):
            location = await self._fetch_one(place, target)
            if location is None:
                return
            place = _parsed(location, place)
        raise Refusal(422, f"the address leads on more than {MAX_REDIRECTS} times")

    async def _fetch_one(self, url: httpx.URL, target: BinaryIO) -> str | None:
        """Write what an address gives, or tell where it leads on to."""
        addresses = await self._addresses(*self._checked(url))
        # No client: it would read redirects by itself, keep cookies, and log addresses, which may be keys.
        async with httpx.AsyncHTTPTransport(verify=self._tls, trust_env=False) as transport:
            response = await _ask(transport, url, addresses)
            try:
                if response.has_redirect_location:
                    return response.headers["Location"]
                self._check_answer(response)
                await self._write(response, target)
            finally:
                await response.aclose()
        return None

    def _checked(self, url: httpx.URL) -> tuple[str, int]:
        """The host and port of an address that is allowed."""
        if url.scheme not in DEFAULT_PORTS:
            raise Refusal(422, "the address does not begin with http:// or https://, or leads to one that does not")
        if url.userinfo:
            raise Refusal(422, "the address has a user name in it, or leads to one that has")
        host, port = url.raw_host.decode(), DEFAULT_PORTS[url.scheme] if url.port is None else url.port
        if not any(allowed.allows(host, port) for allowed in self._hosts):
            raise Refusal(422, "the address is of, or leads to, a host or port that is not allowed here")
        return host, port

    async def _addresses(self, host: str, port: int) -> list[str]:
        """The IP addresses of a host, all of them public."""
        try:
            addresses = await self._resolve(host, port)
        except (OSError, UnicodeError):  # the latter for a label that is too long
            addresses = []
        if not addresses:
            raise Refusal(422, "the address's host is not known")
        if not all(self._is_public(address) for address in addresses):
            raise Refusal(422, "the address's host is not in the public internet")
        return addresses

    def _check_answer(self, response: httpx.Response) -> None:
        if response.status_code != 200:
            raise Refusal(422, f"the address answers {response.status_code}")
        if response.headers.get("Content-Encoding", "identity").lower() != "identity":  # small, but large when unpacked
            raise Refusal(422, "the address answers with a packed video, which was not asked for")
        num_bytes = response.headers.get("Content-Length", "0")
        if len(num_bytes) > 18 or int(num_bytes) > self._max_bytes:
            raise self._too_large()

    async def _write(self, response: httpx.Response, target: BinaryIO) -> None:
        num_bytes = 0
        async for chunk in response.aiter_raw():
            num_bytes += len(chunk)
            if num_bytes > self._max_bytes:
                raise self._too_large()
            target.write(chunk)

    def _too_large(self) -> Refusal:
        return Refusal(413, f"the address's video has more than {self._max_bytes / 1e6:g} MB")


def _parsed(text: str, base: httpx.URL | None = None) -> httpx.URL:
    """An address, which may be relative to another."""
    try:
        return base.join(text) if base else httpx.URL(text)
    except (httpx.InvalidURL, ValueError) as error:  # the latter for "//[::" and half a surrogate pair
        raise Refusal(422, "the address is no URL, or leads to what is none") from error


async def _ask(transport: httpx.AsyncHTTPTransport, url: httpx.URL, addresses: list[str]) -> httpx.Response:
    """The answer, yet to be read, of the first of a host's IP addresses that can be reached."""

    def request(address: str) -> httpx.Request:
        headers = {"Host": url.netloc.decode(), "User-Agent": "python-httpx", "Accept-Encoding": "identity"}
        # The name is sent to the server and is what its certificate has to be for.
        extensions = {"sni_hostname": url.raw_host.decode()}
        return httpx.Request("GET", url.copy_with(host=address), headers=headers, extensions=extensions)

    *others, last = addresses
    for address in others:
        try:
            return await transport.handle_async_request(request(address))
        except httpx.ConnectError:
            continue  # with the next one, as browsers do
    return await transport.handle_async_request(request(last))
