"""Nothing is unpickled that this project did not sign."""

from __future__ import annotations

import pickle
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.test import override_settings
from django_redis.serializers.pickle import PickleSerializer
from hypothesis import given, strategies as st

from resilience.cache.signing import NotSignedByUs, SignedPickleSerializer

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text()
    | st.binary()
    | st.datetimes()
    | st.decimals(allow_nan=False)
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=10,
)
OLD, NEW = "old-key-of-this-test-0123456789", "new-key-of-this-test-0123456789"
exploded: list[str] = []


def explode() -> None:
    exploded.append("boom")


class Bomb:
    """What an attacker pickles: reading it is running it."""

    def __reduce__(self) -> tuple[Any, ...]:
        return explode, ()


@pytest.fixture(autouse=True)
def defused() -> None:
    exploded.clear()


def serializer(**options: object) -> SignedPickleSerializer:
    return SignedPickleSerializer(options)


@given(VALUES)
def test_round_trip(value):
    assert serializer().loads(serializer().dumps(value)) == value


@given(VALUES, st.data())
def test_every_flipped_bit_is_refused(value, data):
    signed = bytearray(serializer().dumps(value))
    at = data.draw(st.integers(0, len(signed) - 1))
    signed[at] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises(NotSignedByUs):
        serializer().loads(bytes(signed))


def test_every_byte_every_length():
    """The property above, exhaustively for one value, and every way to cut it short."""
    signed = serializer().dumps({"user": 7})
    for at in range(len(signed)):
        flipped = signed[:at] + bytes([signed[at] ^ 0xFF]) + signed[at + 1 :]
        for broken in (flipped, signed[:at], signed + signed[:at] + b"."):
            with pytest.raises(NotSignedByUs):
                serializer().loads(broken)


@given(st.binary(max_size=200))
def test_arbitrary_bytes_are_refused(garbage):
    with pytest.raises(NotSignedByUs):
        serializer().loads(garbage)


def test_an_unsigned_pickle_is_not_unpickled():
    unsigned = PickleSerializer({}).dumps(Bomb())
    for forged in (unsigned, b"\x01" + bytes(32) + unsigned, b"\x01" + unsigned):
        with pytest.raises(NotSignedByUs):
            serializer().loads(forged)
    assert not exploded


def test_an_unsigned_pickle__twin__goes_off_without_a_check():
    PickleSerializer({}).loads(PickleSerializer({}).dumps(Bomb()))
    assert exploded == ["boom"]
    serializer().loads(serializer().dumps(Bomb()))  # signed here: this project's own bomb
    assert exploded == ["boom", "boom"]


def test_rotating_the_key():
    with override_settings(SECRET_KEY=OLD):
        signed = serializer().dumps("kept")
    with override_settings(SECRET_KEY=NEW, SECRET_KEY_FALLBACKS=["older", OLD]):
        assert serializer().loads(signed) == "kept"
        again = serializer().dumps("kept")
    with override_settings(SECRET_KEY=NEW):
        assert serializer().loads(again) == "kept"
        with pytest.raises(NotSignedByUs, match="SECRET_KEY_FALLBACKS"):
            serializer().loads(signed)


def test_the_signature_is_of_no_other_purpose():
    """Not what Django signs cookies and links with: nobody can have it signed elsewhere."""
    from django.utils.crypto import salted_hmac

    body = pickle.dumps("x")
    for purpose in ("", "django.core.signing.Signer"):
        elsewhere = salted_hmac(purpose, b"\x01" + body, algorithm="sha256").digest()
        with pytest.raises(NotSignedByUs):
            serializer().loads(b"\x01" + elsewhere + body)


def test_django_redis_takes_no_signed_value_for_a_number():
    for value in ("1", b"1", 1.5, True, None):
        with pytest.raises(ValueError, match="invalid literal"):
            int(serializer().dumps(value))


@pytest.mark.parametrize("version", [0, 2, pickle.HIGHEST_PROTOCOL, "4"])
def test_pickle_version(version):
    signed = serializer(PICKLE_VERSION=version).dumps([1])
    assert signed[33:] == pickle.dumps([1], int(version))
    assert serializer().loads(signed) == [1]


def test_pickle_version__as_django_redis_refuses_it():
    with pytest.raises(ImproperlyConfigured, match="PICKLE_VERSION"):
        serializer(PICKLE_VERSION=pickle.HIGHEST_PROTOCOL + 1)


def test_a_refusal_holds_no_byte_of_the_value_and_no_key():
    with override_settings(SECRET_KEY=OLD):
        signed = serializer().dumps("canary-4711")
    for broken in (signed, b"canary-4711"):
        with pytest.raises(NotSignedByUs) as caught:
            serializer().loads(broken)
        assert "canary" not in repr(caught.value)
        assert OLD not in repr(caught.value)


def test_through_django_redis_with_a_compressor():
    """The whole way of a value: signed first, compressed then."""
    from django_redis.client import DefaultClient

    options = {
        "SERIALIZER": "resilience.cache.signing.SignedPickleSerializer",
        "COMPRESSOR": "django_redis.compressors.zlib.ZlibCompressor",
    }
    client: Any = DefaultClient("redis://127.0.0.1:1/0", {"OPTIONS": options}, None)
    for value in ("x" * 1000, "short", 7, None):
        assert client.decode(client.encode(value)) == value
