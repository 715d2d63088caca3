"""Where we may call: the forms of a URL that parsers read differently, and the addresses behind names."""

from __future__ import annotations

import ipaddress
import socket
from typing import Any

import pytest

from jobs.errors import BadInput, ProviderError
from jobs.providers import http
from jobs.providers.base import Endpoint, Limits
from jobs.providers.registry import provider_for
from tests.contract.conftest import wire as wire
from tests.contract.wire import Reply, Wire

REFUSED = [
    "",
    "api.openai.com/v1",
    "ftp://api.openai.com",
    "file:///etc/passwd",
    "gopher://127.0.0.1:6379/_x",
    "http://api.openai.com/v1",
    "https://",
    "https:///v1",
    "https://127.0.0.1/v1",
    "https://127.1/v1",
    "https://2130706433/v1",
    "https://0177.0.0.1/v1",
    "https://0x7f.0.0.1/v1",
    "https://0x7f000001/v1",
    "https://017700000001/v1",
    "https://127.0.0.1./v1",
    "https://１２７.0.0.1/v1",
    "https://127。0。0。1/v1",
    "https://①②⑦.0.0.1/v1",
    "https://%31%32%37.0.0.1/v1",
    "https://localhost/v1",
    "https://LOCALHOST./v1",
    "https://a.localhost/v1",
    "https://10.0.0.1/v1",
    "https://172.16.5.4/v1",
    "https://192.168.1.1/v1",
    "https://169.254.169.254/latest/meta-data",
    "https://100.100.100.200/latest",
    "https://168.63.129.16/",
    "https://metadata.google.internal/v1",
    "https://0.0.0.0/v1",
    "https://255.255.255.255/v1",
    "https://224.0.0.1/v1",
    "https://[::1]/v1",
    "https://[::]/v1",
    "https://[::ffff:127.0.0.1]/v1",
    "https://[::ffff:a9fe:a9fe]/v1",
    "https://[::127.0.0.1]/v1",
    "https://[2002:7f00:1::]/v1",
    "https://[64:ff9b::a9fe:a9fe]/v1",
    "https://[fe80::1]/v1",
    "https://[fe80::1%25eth0]/v1",
    "https://[fd00:ec2::254]/v1",
    "https://[fc00::1]/v1",
    "https://user:pw@api.openai.com/v1",
    "https://api.openai.com@127.0.0.1/v1",
    "https://api.openai.com:22/v1",
    "https://api.openai.com:99999/v1",
    "https://api.openai.com/v1?x=1",
    "https://api.openai.com/v1#x",
    "https://api.openai.com/../v1",
    "https://api.openai.com\\@127.0.0.1/v1",
    "https://api.openai.com/v1\r\nX: y",
    "https://api openai.com/v1",
    "https://-bad-.example/v1",
    "https://a..b/v1",
]


@pytest.fixture(autouse=True)
def names(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[str]]:
    """Our own name server: `names[host]` are its addresses; a host without an entry is real."""
    table: dict[str, list[str]] = {}
    real = socket.getaddrinfo

    def look_up(host: Any, port: Any, *args: Any, **more: Any) -> Any:
        name = host.decode() if isinstance(host, bytes) else host
        if name in table:
            if not table[name]:
                raise socket.gaierror(-2, "Name or service not known")
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in table[name]]
        return real(host, port, *args, **more)

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    return table


@pytest.mark.parametrize("url", REFUSED)
def test_a_url_that_must_not_be_called_is_refused(url: str) -> None:
    with pytest.raises(BadInput):
        http.check_base_url(url, look_up=False)


ALWAYS = [url for url in REFUSED if any(part in url for part in ("169.254", "a9fe", "100.100", "168.63", "fe80", "ec2", "google.internal"))]


@pytest.mark.parametrize("url", [*ALWAYS, "https://224.0.0.1/", "https://0.0.0.0/"])
def test_metadata_addresses_are_refused_whatever_is_allowed(url: str) -> None:
    with pytest.raises(BadInput):
        http.check_base_url(url, allow_private=True, look_up=False)


PLAIN = {
    " https://API.OpenAI.com/v1/ ": "https://api.openai.com/v1",
    "https://api.openai.com./v1": "https://api.openai.com/v1",
    "https://api.openai.com:443/v1": "https://api.openai.com:443/v1",
    "https://bücher.example/v1": "https://xn--bcher-kva.example/v1",
    "https://8.8.8.8": "https://8.8.8.8",
    "https://[2606:4700::1111]/v1": "https://[2606:4700::1111]/v1",
}


@pytest.mark.parametrize("url", PLAIN)
def test_a_good_url_comes_back_in_its_plain_form(url: str) -> None:
    assert http.check_base_url(url, look_up=False) == PLAIN[url]


@pytest.mark.parametrize("url", ["http://127.0.0.1:8123/v1", "http://localhost:11434/v1", "http://10.1.2.3:8000/v1", "http://[::1]:80/v1"])
def test_private_hosts_are_open_where_allowed(url: str) -> None:
    assert http.check_base_url(url, allow_private=True, look_up=False) == url


@pytest.mark.parametrize("addresses", [["127.0.0.1"], ["8.8.8.8", "10.0.0.1"], ["169.254.169.254"], ["::ffff:127.0.0.1"]])
def test_a_name_is_as_good_as_all_its_addresses(addresses: list[str], names: dict[str, list[str]]) -> None:
    names["api.example.com"] = addresses
    with pytest.raises(BadInput) as caught:
        http.check_base_url("https://api.example.com/v1")
    assert caught.value.message == "“api.example.com” leads to an address that must not be called from here."


def test_a_name_that_is_not_found_passes_the_form(names: dict[str, list[str]]) -> None:
    names["api.example.com"] = []
    assert http.check_base_url("https://api.example.com/v1") == "https://api.example.com/v1"


@pytest.mark.parametrize(
    ("address", "expected"),
    [("::ffff:1.2.3.4", "1.2.3.4"), ("2002:102:304::", "1.2.3.4"), ("64:ff9b::1.2.3.4", "1.2.3.4"), ("2606:4700::1", "2606:4700::1")],
)
def test_the_inner_address(address: str, expected: str) -> None:
    assert str(http.inner_address(ipaddress.ip_address(address))) == expected


def endpoint(url: str, allow_private: bool) -> Endpoint:
    return Endpoint("openai", url, "key-123", Limits(), allow_private=allow_private, timeout=2.0)


def test_a_name_that_turns_bad_later_is_stopped_at_the_socket(names: dict[str, list[str]], wire: Wire) -> None:
    names["rebind.example"] = ["169.254.169.254"]
    provider = provider_for(endpoint("https://rebind.example/v1", True))
    with pytest.raises(ProviderError) as caught:
        provider.test()
    assert caught.value.message[:70] == "“rebind.example” leads to an address that must not be called from here"
    assert caught.value.definite is False
    provider.close()


def test_the_call_goes_to_the_checked_address_with_the_name_in_host(names: dict[str, list[str]], wire: Wire) -> None:
    names["model.example"] = ["127.0.0.1"]
    port = wire.url.rsplit(":", 1)[1]
    wire.on("GET", "/v1/models", Reply({"data": []}))
    provider = provider_for(endpoint(f"http://model.example:{port}/v1", True))
    assert provider.test() == "It works: 0 models can be used."
    assert wire.asked[0].headers["host"] == f"model.example:{port}"
    provider.close()


def test_the_first_address_that_answers_is_taken(names: dict[str, list[str]], wire: Wire) -> None:
    names["model.example"] = ["127.0.0.2", "127.0.0.1"]
    backend = http.GuardedBackend(True)
    tried: list[str] = []

    class Inner:
        def connect_tcp(self, host: str, *more: Any) -> str:
            tried.append(host)
            if host == "127.0.0.2":
                raise http.httpcore2.ConnectError("refused")
            return "stream"

    backend._inner = Inner()  # type: ignore[assignment]
    backend.connect_tcp("model.example", 80)
    assert tried == ["127.0.0.2", "127.0.0.1"]


def test_a_host_that_is_not_found_is_told_in_words(names: dict[str, list[str]]) -> None:
    names["nowhere.example"] = []
    provider = provider_for(endpoint("https://nowhere.example/v1", False))
    with pytest.raises(ProviderError) as caught:
        provider.test()
    assert caught.value.message == "The host of the base URL was not found."
    provider.close()


def test_tls_that_is_none_is_told_in_words(wire: Wire) -> None:
    provider = provider_for(endpoint(wire.url.replace("http:", "https:") + "/v1", True))
    with pytest.raises(ProviderError) as caught:
        provider.test()
    assert caught.value.message[:39] == "No secure connection could be made (TLS"
    provider.close()


def test_a_private_url_in_the_ledger_is_refused_at_the_call(wire: Wire) -> None:
    provider = provider_for(endpoint(wire.url + "/v1", False))
    with pytest.raises(ProviderError) as caught:
        provider.test()
    assert (caught.value.definite, wire.asked) == (True, [])


def test_a_key_that_is_no_key_is_not_sent_and_not_shown(wire: Wire) -> None:
    provider = provider_for(Endpoint("openai", wire.url + "/v1", "secret\nkey", Limits(), allow_private=True))
    with pytest.raises(ProviderError) as caught:
        provider.test()
    assert (caught.value.message, wire.asked) == ("The API key has characters that no key has.", [])
    assert "secret" not in repr(provider.__dict__["endpoint"])
