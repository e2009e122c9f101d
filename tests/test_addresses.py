"""Videos fetched from addresses: every rule, by a small server on this machine that plays all hosts."""

import asyncio
import io
import socket
import ssl
from contextlib import asynccontextmanager

import httpx
import pytest

from serving.addresses import AllowedHost, Fetcher, is_public, parse_host, resolve_host
from serving.refusals import Refusal

HERE = "127.0.0.1"
VIDEO = bytes(range(256)) * 1000
KEY_AND_CERTIFICATE = """
-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgW1nTfedgWDkQedoD
cXufEnE///j9ytIkUVSR7pwVh3ahRANCAASlUJ12QG+Sl98W40JugFNflvamfcuS
QJWNfSLrLAcOL7722bIXluKhxDORoXePrk9hTPP/8OAm0Eb9hHy3m2uM
-----END PRIVATE KEY-----
-----BEGIN CERTIFICATE-----
MIIBSDCB76ADAgECAgEBMAoGCCqGSM49BAMCMBUxEzARBgNVBAMMCnRlc3RzIG9u
bHkwIBcNMjAwMTAxMDAwMDAwWhgPMjEyMDAxMDEwMDAwMDBaMBUxEzARBgNVBAMM
CnRlc3RzIG9ubHkwWTATBgcqhkjOPQIBBggqhkjOPQMBBwNCAASlUJ12QG+Sl98W
40JugFNflvamfcuSQJWNfSLrLAcOL7722bIXluKhxDORoXePrk9hTPP/8OAm0Eb9
hHy3m2uMoy4wLDAZBgNVHREEEjAQgg52aWRlb3MuZXhhbXBsZTAPBgNVHRMBAf8E
BTADAQH/MAoGCCqGSM49BAMCA0gAMEUCICx3LBeNOD+71ZyodCe+Yr5vT93PW5ha
WNJMT41QMBGZAiEA56YXsd80039FADNmZpzBv9ynRhszOl59iUF5fCKHTwU=
-----END CERTIFICATE-----
"""
"""For videos.example, signed by itself, from 2020 to 2120; it guards nothing."""


def answer(status="200 OK", body=VIDEO, **headers):
    """An HTTP answer's bytes."""
    headers = {"Content_Length": len(body), "Connection": "close", **headers}
    lines = [f"{name.replace('_', '-')}: {value}" for name, value in headers.items() if value is not None]
    return "\r\n".join([f"HTTP/1.1 {status}", *lines, "", ""]).encode() + body


def redirect(location, status="302 Found"):
    return answer(status, b"", Location=location)


class Server:
    """Answers each path with bytes, or with pieces of them and pauses between, and notes what it was asked."""

    def __init__(self, answers):
        self.answers = answers
        self.requests = []

    async def talk(self, reader, writer):
        try:
            request = (await reader.readuntil(b"\r\n\r\n")).decode()
            self.requests.append(request)
            pieces = self.answers[request.split()[1]]
            for piece in [pieces] if isinstance(pieces, bytes) else pieces:
                if isinstance(piece, float):
                    await asyncio.wait([self.over], timeout=piece)
                else:
                    writer.write(piece)
                    await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # the other end has heard enough, which is what many of these tests are about
        finally:
            writer.close()

    @asynccontextmanager
    async def running(self, tls=None):
        self.over = asyncio.get_running_loop().create_future()
        server = await asyncio.start_server(self.talk, HERE, 0, ssl=tls)
        async with server:
            try:
                yield server.sockets[0].getsockname()[1]
            finally:
                self.over.set_result(None)  # from Python 3.12 on, a server ends after its last answer


class Resolver:
    """Finds this machine behind every name, or what it is told to, and notes what it was asked."""

    def __init__(self, *found, default=(HERE,)):
        self.found = list(found)
        self.default = default
        self.asked = []

    async def __call__(self, host, port):
        self.asked.append((host, port))
        return list(self.found.pop(0) if self.found else self.default)


def fetch(answers, url="http://videos.example:PORT/my.mp4", hosts=("videos.example:PORT",), **options):
    """(video, server, resolver) of an address that a server answers; PORT is the server's."""
    tls, trust = options.pop("tls", None), options.pop("trust", False)
    server = Server(answers if isinstance(answers, dict) else {"/my.mp4": answers})
    resolver, target = options.pop("resolve", None) or Resolver(), options.pop("target", io.BytesIO())

    async def run():
        async with server.running(tls) as port:
            for path, one in server.answers.items():
                if isinstance(one, bytes):
                    server.answers[path] = one.replace(b"PORT", str(port).encode())
            options.setdefault("is_public", lambda address: True)
            options.setdefault("max_bytes", 1 << 20)
            options.setdefault("timeout_sec", 30.0)
            fetcher = Fetcher([host.replace("PORT", str(port)) for host in hosts], resolve=resolver, **options)
            if trust:
                fetcher._tls.load_verify_locations(cadata=KEY_AND_CERTIFICATE)
            await fetcher.fetch(url.replace("PORT", str(port)), target)

    try:
        asyncio.run(run())
    except Refusal as refusal:
        refusal.server, refusal.resolver, refusal.target = server, resolver, target
        raise
    return target.getvalue(), server, resolver


def refused(*args, reason, status=422, **options):
    with pytest.raises(Refusal, match=reason) as caught:
        fetch(*args, **options)
    assert caught.value.status == status
    return caught.value


def test_a_video_is_asked_for_by_its_hosts_name():
    video, server, resolver = fetch(
        {"/a%20b/my.mp4?x=1&y=%2F": answer()}, "http://Videos.Example:PORT/a b/my.mp4?x=1&y=%2F#t=3"
    )
    assert video == VIDEO
    (request,) = server.requests
    assert request.startswith("GET /a%20b/my.mp4?x=1&y=%2F HTTP/1.1\r\n")
    (port,) = {port for _, port in resolver.asked}
    assert f"host: videos.example:{port}\r\n" in request.lower()
    assert "accept-encoding: identity\r\n" in request.lower()
    assert HERE not in request


def test_an_answer_without_a_length_is_a_video_too():
    chunks = b"".join(b"%x\r\n%b\r\n" % (1000, VIDEO[start : start + 1000]) for start in range(0, len(VIDEO), 1000))
    chunked = answer(body=chunks + b"0\r\n\r\n", Content_Length=None, Transfer_Encoding="chunked")
    assert fetch(chunked)[0] == VIDEO
    assert fetch(answer(Content_Length=None))[0] == VIDEO  # which ends with the connection


def test_without_allowed_hosts_the_way_out_is_named():
    refusal = refused(answer(), hosts=(), reason="addresses are not taken here; .* start the server with --allow_urls")
    assert not refusal.resolver.asked and not refusal.server.requests


@pytest.mark.parametrize(("entry", "allowed", "others"), [
    ("videos.example", ["videos.example"], ["a.videos.example", "xvideos.example", "example", "videos.example."]),
    ("*.example", ["videos.example", "a.b.example"], ["example", "example.org", "xexample", ".example"]),
    (".Example", ["videos.example"], ["example", "127.0.0.1.evil"]),
    ("bücher.example", ["xn--bcher-kva.example"], ["bcher.example"]),
])  # fmt: skip
def test_entries_of_hosts(entry, allowed, others):
    assert all(parse_host(entry).allows(host, 443) for host in allowed)
    assert not any(parse_host(entry).allows(host, 443) for host in others)


@pytest.mark.parametrize("entry", [
    "", "*", ".", "*.", "*a.example", "a..b", "https://videos.example", "videos.example/my", "user@videos.example",
    "videos.example:", "videos.example:0", "videos.example:65536", "videos.example:x", "a b", "127.0.0.1", "127.1",
    "2130706433", "0x7f.1", "0x7f000001", "[::1]", "::1", "*.0.0.1", "\ud800", "a" * 70_000,
])  # fmt: skip
def test_what_is_no_host_is_told_to_the_operator(entry):
    with pytest.raises(ValueError, match="is no host to allow; write example.com, .example.com or example.com:8443"):
        Fetcher([entry], 1, 1.0)


@pytest.mark.parametrize("url", [
    "ftp://videos.example/my.mp4", "file:///etc/passwd", "gopher://videos.example/", "my.mp4", "", "//videos.example/",
    "data:video/mp4;base64,QUJD", "HTTPX://videos.example/",
])  # fmt: skip
def test_only_http_and_https(url):
    refused(answer(), url, reason="does not begin with http:// or https://")


@pytest.mark.parametrize("url", [
    "http://[::1", "http://videos.example:x/", "http://a\0b/", "http://\ud800/", "http://videos.example/\ud800",
    "http://" + "a" * 70_000,
])  # fmt: skip
def test_what_is_no_url(url):
    refused(answer(), url, reason="the address is no URL")


def test_no_user_name():
    for user in ("user@", "user:password@", ":password@", "other.example\\@"):
        refused(answer(), f"http://{user}videos.example:PORT/my.mp4", reason="has a user name in it")


@pytest.mark.parametrize("host", [
    "other.example", "videos.example.other.example", "127.0.0.1", "127.1", "127.0.1", "2130706433", "017700000001",
    "0x7f000001", "0x7f.1", "0", "[::1]", "[::ffff:127.0.0.1]", "localhost", "videos.example.", "videos.example%2f",
    "169.254.169.254", "１２７.0.0.1", "ⓛocalhost", "",
])  # fmt: skip
def test_hosts_that_are_not_allowed_are_not_even_looked_up(host):
    for hosts in (("videos.example:PORT", "videos.example"), (".example.com", "*.videos.example")):
        for url in (f"http://{host}:PORT/my.mp4", f"http://{host}/my.mp4"):
            refusal = refused(answer(), url, hosts=hosts, reason="not allowed here|no URL")
            assert not refusal.resolver.asked and not refusal.server.requests


def test_ports():
    def asked(url, *hosts):
        """Where a fetcher looks, whose resolver finds nothing."""
        refusal = refused(answer(), url, hosts=hosts, resolve=Resolver(default=()), reason="not known|not allowed")
        return refusal.resolver.asked

    assert asked("http://videos.example/", "videos.example") == [("videos.example", 80)]
    assert asked("https://videos.example/", "videos.example") == [("videos.example", 443)]
    assert asked("https://videos.example:80/", "videos.example") == [("videos.example", 80)]
    assert asked("https://a.example:8443/", "*.example:8443") == [("a.example", 8443)]
    for port in (0, 22, 8443, 99999):
        assert not asked(f"http://videos.example:{port}/", "videos.example", "videos.example:8444")
    assert not asked("https://videos.example/", "videos.example:8443")
    assert parse_host(" *.example:8443 ") == AllowedHost(".example", 8443)


@pytest.mark.parametrize(
    "address", ["1.1.1.1", "2606:4700::1111", "::ffff:8.8.8.8", "2002:808:808::", "64:ff9b::808:808"]
)
def test_public_addresses(address):
    assert is_public(address)


@pytest.mark.parametrize("address", [
    "0.0.0.0", "10.0.0.1", "100.64.0.1", "127.0.0.1", "169.254.169.254", "172.16.0.1", "192.0.0.8", "192.0.2.1",
    "192.88.99.1", "192.168.1.1", "198.18.0.1", "203.0.113.1", "224.0.0.1", "239.1.1.1", "240.0.0.1", "255.255.255.255",
    "::", "::1", "::8.8.8.8", "100::1", "2001::1", "2001:20::1", "2001:db8::1", "3fff::1", "5f00::1", "fc00::1",
    "fe80::1", "fe80::1%eth0", "2606:4700::1111%1", "fec0::1", "ff02::1", "64:ff9b:1::808:808",
    "::ffff:127.0.0.1", "::ffff:169.254.169.254", "2002:7f00:1::", "2002:a00:1::", "64:ff9b::7f00:1", "64:ff9b::a00:1",
    "2001:0:808:808::", "127.1", "0x7f.1", "2130706433", "videos.example", "",
])  # fmt: skip
def test_addresses_that_are_not_public(address):
    assert not is_public(address)


@pytest.mark.parametrize("found", [["127.0.0.1"], ["1.1.1.1", "127.0.0.1"], ["10.0.0.1", "1.1.1.1"], ["::1"]])
def test_a_name_that_leads_into_the_operators_network_is_not_followed(found):
    refusal = refused(
        answer(),
        resolve=Resolver(found),
        is_public=is_public,
        reason="the address's host is not in the public internet",
    )
    assert not refusal.server.requests


def test_a_name_is_looked_up_once_so_that_the_second_answer_cannot_be_another():
    checked = []
    resolver = Resolver([HERE], default=["10.0.0.1"])
    video, _, _ = fetch(answer(), resolve=resolver, is_public=lambda address: not checked.append(address))
    assert video == VIDEO
    assert len(resolver.asked) == 1 and checked == [HERE]


def test_the_next_address_is_tried_where_one_is_not_reached(monkeypatch):
    handle, tried = httpx.AsyncHTTPTransport.handle_async_request, []

    async def unreachable(transport, request):
        tried.append(request.url.host)
        if request.url.host != HERE:
            raise httpx.ConnectError("unreachable")
        return await handle(transport, request)

    monkeypatch.setattr(httpx.AsyncHTTPTransport, "handle_async_request", unreachable)
    assert fetch(answer(), resolve=Resolver(["2606:4700::1111", HERE]))[0] == VIDEO
    assert tried == ["2606:4700::1111", HERE]
    refused(answer(), resolve=Resolver(["1.1.1.1", "1.0.0.1"]), reason=r"cannot be fetched \(ConnectError\)")


def test_names_that_are_not_known():
    async def failing(host, port):
        raise socket.gaierror(socket.EAI_NONAME, "unknown")

    for resolve in (failing, Resolver(default=())):
        with pytest.raises(Refusal, match="the address's host is not known"):
            asyncio.run(Fetcher(["videos.example"], 1, 9.0, resolve).fetch("http://videos.example/", io.BytesIO()))
    with pytest.raises(Refusal, match="the address's host is not known"):  # before anybody is asked
        asyncio.run(Fetcher([".example"], 1, 9.0).fetch(f"http://{'a' * 64}.example/", io.BytesIO()))


def test_the_machine_itself_is_found_by_name_but_not_fetched_from():
    assert {*asyncio.run(resolve_host("localhost", 80))} & {HERE, "::1"}
    with pytest.raises(Refusal, match="not in the public internet"):
        asyncio.run(Fetcher(["localhost"], 1, 9.0).fetch("http://localhost/", io.BytesIO()))


@pytest.mark.parametrize("status", ["301 Moved", "302 Found", "303 See", "307 Temporary", "308 Permanent"])
def test_redirects_are_followed_and_looked_up_each(status):
    answers = {
        "/my.mp4": redirect("/second?a=b", status), "/second?a=b": redirect("//cdn.example:PORT/third", status),
        "/third": redirect("http://videos.example:PORT/last#x", status), "/last": answer(),
    }  # fmt: skip
    video, server, resolver = fetch(answers, hosts=("*.example:PORT",))
    assert video == VIDEO
    assert [host for host, _ in resolver.asked] == ["videos.example", "videos.example", "cdn.example", "videos.example"]
    assert "host: cdn.example:" in server.requests[2].lower()


def test_no_more_than_three_redirects():
    refusal = refused(redirect("/my.mp4"), reason="the address leads on more than 3 times")
    assert len(refusal.server.requests) == 4


@pytest.mark.parametrize(("location", "reason"), [
    ("http://other.example:PORT/", "not allowed here"), ("http://127.0.0.1:PORT/", "not allowed here"),
    ("http://videos.example:22/", "not allowed here"), ("//[::1]:PORT/", "not allowed here"),
    ("http://2130706433:PORT/", "not allowed here"), ("file:///etc/passwd", "does not begin with http"),
    ("http://a:b@videos.example:PORT/", "user name"), ("http://[::1", "no URL"),
    ("http://videos.example:x/", "no URL"), ("http:////[[/", "no URL"), ("////[[/", "no URL"),
])  # fmt: skip
def test_a_redirect_passes_the_same_checks(location, reason):
    refusal = refused(redirect(location), reason=reason)
    assert len(refusal.server.requests) == len(refusal.resolver.asked) == 1


def test_a_redirect_whose_name_is_private_by_then_is_not_followed():
    refusal = refused(
        redirect("/my.mp4"), resolve=Resolver([HERE], ["10.0.0.1"]), is_public=lambda address: address == HERE,
        reason="not in the public internet",
    )  # fmt: skip
    assert len(refusal.server.requests) == 1


@pytest.mark.parametrize("status", ["204 None", "206 Part", "302 Found", "304 Same", "401 No", "404 None", "500 Oh"])
def test_what_is_no_video(status):
    secret = b"the secret of a host"
    refusal = refused(answer(status, b"" if status[:3] in ("204", "304") else secret), reason="the address answers ")
    assert refusal.reason == f"the address answers {status[:3]}"
    assert refusal.target.getvalue() == b""


def test_the_size_that_is_told_is_believed_before_a_byte_is_read():
    refusal = refused(
        [answer(body=b"", Content_Length=1001), 60.0], max_bytes=1000, status=413, reason="has more than 0.001 MB"
    )
    assert refusal.target.getvalue() == b""
    assert fetch(answer(body=bytes(1000)), max_bytes=1000)[0] == bytes(1000)
    refused(answer(body=b"", Content_Length=10**17), status=413, reason="has more than")
    refused(answer(body=b"", Content_Length="9" * 19), status=413, reason="has more than")


def test_the_size_that_is_not_told_is_counted():
    endless = [answer(body=b"", Content_Length=None), *[VIDEO] * 1000]
    refusal = refused(endless, max_bytes=1_000_000, status=413, reason="has more than 1 MB")
    assert len(refusal.target.getvalue()) <= 1_000_000


def test_a_packed_answer_is_not_unpacked():
    refused(answer(Content_Encoding="gzip"), reason="answers with a packed video")
    assert fetch(answer(Content_Encoding="identity"))[0] == VIDEO


async def _slow_resolver(host, port):
    await asyncio.sleep(60)


@pytest.mark.parametrize(("answers", "options"), [
    ([60.0], {}),
    ([b"HTTP/1.1 200 OK\r\n", *[b"A: b\r\n", 0.05] * 1000], {}),
    ([answer(body=b"", Content_Length=10_000), *[b"a", 0.05] * 1000], {}),
    (answer(), {"resolve": _slow_resolver}),
])  # fmt: skip
def test_the_time_counts_from_end_to_end(answers, options):
    refused(answers, timeout_sec=0.5, reason="the address takes longer than 0.5 s", **options)


@pytest.mark.parametrize("answers", [
    b"", b"no HTTP\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n", answer(body=b"half", Content_Length=9),
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz", b"HTTP/1.1 200 OK\r\nA: " + b"a" * 1_000_000,
])  # fmt: skip
def test_broken_answers(answers):
    refusal = refused(answers, reason=r"^the address cannot be fetched \(RemoteProtocolError\)$")
    assert isinstance(refusal.__cause__, httpx.HTTPError)


def test_a_closed_port():
    with socket.socket() as held:
        held.bind((HERE, 0))
        port = held.getsockname()[1]
        fetcher = Fetcher([f"videos.example:{port}"], 1, 9.0, Resolver(), lambda address: True)
        with pytest.raises(Refusal, match=r"^the address cannot be fetched \(ConnectError\)$"):
            asyncio.run(fetcher.fetch(f"http://videos.example:{port}/", io.BytesIO()))


def test_addresses_are_not_logged(caplog):
    with caplog.at_level("INFO"):
        fetch({"/my.mp4?signature=secret": answer()}, "http://videos.example:PORT/my.mp4?signature=secret")
    assert "secret" not in caplog.text


def test_no_proxy_of_the_environment_is_used(monkeypatch):
    for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY", "https_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    assert fetch(answer())[0] == VIDEO


def test_a_full_disk_is_no_refusal():
    class Full(io.BytesIO):
        def write(self, content):
            raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        fetch(answer(), target=Full())


@pytest.fixture
def tls(tmp_path):
    """A server's side; notes the names that it is called by."""
    (tmp_path / "server.pem").write_text(KEY_AND_CERTIFICATE)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "server.pem")
    context.names = []
    context.sni_callback = lambda connection, name, context: context.names.append(name)
    return context


def test_https_asks_for_the_name_and_checks_its_certificate(tls):
    assert fetch(answer(), "https://videos.example:PORT/my.mp4", tls=tls, trust=True)[0] == VIDEO
    assert tls.names == ["videos.example"]
    for host, trust in (("videos.example", False), ("other.example", True)):
        refusal = refused(
            answer(), f"https://{host}:PORT/my.mp4", hosts=(f"{host}:PORT",), tls=tls, trust=trust,
            reason=r"^the address cannot be fetched \(ConnectError\)$",
        )  # fmt: skip
        assert "CERTIFICATE_VERIFY_FAILED" in str(refusal.__cause__)
        assert not refusal.server.requests


@asynccontextmanager
async def garbling(port):
    """A way to a server's port that turns its bytes round from the 10,000th on."""

    async def carry(reader, writer, is_garbled):
        num_bytes = 0
        try:
            while data := await reader.read(1000):
                num_bytes += len(data)
                writer.write(bytes(255 - byte for byte in data) if is_garbled and num_bytes > 10_000 else data)
                await writer.drain()
        except ConnectionError:
            pass  # one of the ends has noticed
        writer.close()

    async def join(reader, writer):
        there = await asyncio.open_connection(HERE, port)
        await asyncio.gather(carry(reader, there[1], False), carry(there[0], writer, True))

    async with await asyncio.start_server(join, HERE, 0) as server:
        yield server.sockets[0].getsockname()[1]


def test_an_answer_that_is_garbled_on_its_way_is_refused(tls):
    """By an error that is also one of the system, as that of a full disk is."""

    async def run():
        async with Server({"/my.mp4": answer()}).running(tls) as port, garbling(port) as garbled:
            fetcher = Fetcher([f"videos.example:{garbled}"], 1 << 20, 30.0, Resolver(), lambda address: True)
            fetcher._tls.load_verify_locations(cadata=KEY_AND_CERTIFICATE)
            await fetcher.fetch(f"https://videos.example:{garbled}/my.mp4", io.BytesIO())

    with pytest.raises(Refusal, match=r"^the address cannot be fetched \((SSLError|ReadError)\)$"):
        asyncio.run(run())
