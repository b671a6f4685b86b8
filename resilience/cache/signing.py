"""Pickle that is unpickled only if this project wrote it: ``OPTIONS["SERIALIZER"]``.

    version (1 byte) │ HMAC-SHA256 (32 bytes) of version and pickle │ pickle

Unpickling runs whatever code the bytes ask for. Who may write to Redis may therefore run code in
every process that reads from it, unless the reader checks first who wrote.
"""

from __future__ import annotations

import pickle
from typing import Any

from django.conf import settings
from django.utils.crypto import constant_time_compare, salted_hmac
from django_redis.serializers.pickle import PickleSerializer

VERSION = b"\x01"  # no digit, sign or white space: django-redis asks int() about every value first
_SALT = "resilience.cache.signing"
_BODY = len(VERSION) + 32


class NotSignedByUs(pickle.UnpicklingError):
    """The bytes are not a value that this project signed; they were not unpickled."""


class SignedPickleSerializer(PickleSerializer):  # type: ignore[misc]  # django-redis has no types
    """``"SERIALIZER": "resilience.cache.signing.SignedPickleSerializer"``.

    Signs with ``SECRET_KEY``; what one of ``SECRET_KEY_FALLBACKS`` signed is read too. Values
    that were written unsigned raise NotSignedByUs, which the cache takes for a miss, so switching
    over and back needs no migration. ``PICKLE_VERSION`` holds as before.

    A signature proves who wrote a value, not where or when: who may write to Redis can still copy
    a signed value under another key, or put an old one back. Whole numbers never come here,
    django-redis stores them as digits so that Redis can count.
    """

    def dumps(self, value: Any) -> bytes:
        body: bytes = super().dumps(value)
        return VERSION + _signature(body, settings.SECRET_KEY) + body

    def loads(self, value: bytes) -> Any:
        version, signature, body = value[:1], value[1:_BODY], value[_BODY:]
        if version != VERSION:
            raise NotSignedByUs("the value is not of the format that SignedPickleSerializer writes")
        secrets = (settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS)
        if not any(constant_time_compare(signature, _signature(body, key)) for key in secrets):
            raise NotSignedByUs("neither SECRET_KEY nor one of SECRET_KEY_FALLBACKS signed it")
        return super().loads(body)


def _signature(body: bytes, secret: str | bytes) -> bytes:
    return salted_hmac(_SALT, VERSION + body, secret=secret, algorithm="sha256").digest()
