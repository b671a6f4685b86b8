"""A secret never survives; the words around it do."""

from __future__ import annotations

import os
import signal
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from urllib.parse import quote

import pytest
from django.core.cache import InvalidCacheBackendError
from django.core.exceptions import ImproperlyConfigured
from django.db.utils import OperationalError
from hypothesis import assume, given, settings, strategies as st
from redis.exceptions import ResponseError

from resilience import redact
from resilience.errors import UsageError
from resilience.findings import Finding, Level
from tests.conftest import clean_process

# Everything that the tests print around a secret. A "secret" made of these words is none.
SENTENCE = (
    "KeyError ValueError ImproperlyConfigured OSError: [Errno 2] No such file or directory "
    "invalid literal for int() with base 10: can't parse at all; Set the environment variable "
    "Finding(id='env.invalid', level=<Level.ERROR: 40>, subject= summary= hint= mappingproxy({ "
    "location= cause=None, skipped=False, area='', duration_ms=0.0) postgres://***@db/app 'url' "
)

SECRETS = (
    st.text(
        st.characters(categories=["L", "N", "P", "S", "Zs"], exclude_characters="*"),
        min_size=6,
        max_size=24,
    )
    .map(str.strip)
    .filter(lambda it: len(it) >= 6 and it.lower() not in redact._WORDS and it not in SENTENCE)
)


def register(secret: str) -> None:
    redact.register(secret)


def set_secret_variable(secret: str) -> None:
    os.environ["SHOP_API_KEY"] = secret


def set_raw_url_variable(secret: str) -> None:
    os.environ["SHOP_DATABASE"] = f"postgres://shop:{secret}@db/app"


def set_encoded_url_variable(secret: str) -> None:
    os.environ["SHOP_DATABASE"] = f"postgres://shop:{quote(secret, safe='')}@db/app"


def set_secret_setting(secret: str) -> None:
    redact.register_settings({"DATABASES": {"default": {"PASSWORD": secret}}})


def set_secret_list(secret: str) -> None:
    redact.register_settings({"SECRET_KEY_FALLBACKS": ["something-else", secret]})


def set_setting_with_url(secret: str) -> None:
    redact.register_settings({"CACHES": [{"LOCATION": (f"redis://:{secret}@cache:6379/0",)}]})


WAYS_TO_BE_KNOWN = (
    register,
    set_secret_variable,
    set_raw_url_variable,
    set_encoded_url_variable,
    set_secret_setting,
    set_secret_list,
    set_setting_with_url,
)


def shown(secret: str) -> set[str]:
    """Every spelling in which a secret may be read off a screen."""
    return {secret, quote(secret), quote(secret, safe=""), repr(secret)[1:-1]}


# ── by value ────────────────────────────────────────────────────────────────────────────────────


@settings(max_examples=150, deadline=None)
@given(SECRETS, st.sampled_from(WAYS_TO_BE_KNOWN))
def test_a_known_secret_survives_in_no_text(secret, make_known):
    assume(secret not in "refused by the server")  # it would be masked there, too
    for spelling in shown(secret):
        with clean_process():
            assume(spelling in redact.text(f"refused «{spelling}» by the server"))  # the twin
            make_known(secret)
            masked = redact.text(f"refused «{spelling}» by the server")
            assert spelling not in masked
            assert masked.startswith("refused «")
            assert masked.endswith("» by the server")


@settings(max_examples=150, deadline=None)
@given(SECRETS, st.sampled_from(WAYS_TO_BE_KNOWN))
def test_a_known_secret_survives_in_no_exception(secret, make_known):
    with clean_process():
        make_known(secret)
        for error in (
            KeyError(secret),
            KeyError(f"no {secret}"),
            ValueError(f"invalid literal for int() with base 10: {secret!r}"),
            ValueError(secret),
            ImproperlyConfigured(f"Set the {secret} environment variable"),
            ImproperlyConfigured({"url": f"postgres://shop:{secret}@db/app"}),
            FileNotFoundError(2, "No such file or directory", secret),
            RuntimeError(f"postgres://shop:{quote(secret, safe='')}@db/app"),
        ):
            masked = redact.exception(error)
            assert masked.startswith(f"{type(error).__name__}: ")
            assert not [spelling for spelling in shown(secret) if spelling in masked]


@settings(max_examples=100, deadline=None)
@given(SECRETS, st.sampled_from(WAYS_TO_BE_KNOWN))
def test_a_known_secret_survives_in_no_finding(secret, make_known):
    with clean_process():
        make_known(secret)
        said = f"with {secret}."
        cause = Finding("env.invalid", Level.ERROR, "web", said, said)
        finding = Finding(
            "env.invalid", Level.ERROR, "web", said, said, {"url": said}, said, cause=cause
        )
        assert not [spelling for spelling in shown(secret) if spelling in repr(finding)]
        assert repr(finding).count("with ***.") == 6


@settings(max_examples=150, deadline=None)
@given(SECRETS)
def test_a_quoted_value_survives_in_no_foreign_exception_although_nobody_knows_it(secret):
    assume(secret not in "can't parse as b'***'")
    with clean_process():
        for value in (secret, secret.encode()):
            masked = redact.exception(ValueError(f"can't parse {value!r} as {value!r}"))
            assert masked.startswith("ValueError: can't parse ")
            assert not [spelling for spelling in shown(secret) if spelling in masked]


def test_a_quoted_name_survives_where_the_exception_quotes_names():
    assert redact.exception(KeyError("HOST")) == "KeyError: 'HOST'"
    assert redact.exception(ModuleNotFoundError("No module named 'shop'")).endswith("'shop'")
    assert redact.exception(ImproperlyConfigured("no engine 'x'")).endswith("no engine 'x'")
    assert redact.exception(InvalidCacheBackendError("no backend 'x'")).endswith("no backend 'x'")
    assert redact.exception(UsageError("no target 'x'")).endswith("no target 'x'")
    assert redact.exception(TypeError("no argument 'x'")).endswith("no argument 'x'")
    assert redact.exception(OperationalError("no role 'x'")).endswith("no role 'x'")
    assert redact.exception(ResponseError("no command 'x'")).endswith("no command 'x'")
    assert redact.exception(ValueError("bad 'HOST'")) == "ValueError: bad '***'"


@pytest.mark.parametrize(
    ("said", "masked"),
    [
        ("can't parse 'hunter'", "can't parse '***'"),
        ("the users' names 'ann', 'bob'", "the users' names '***', '***'"),
        ("bad 'it's mine' here", "bad '***' here"),
        (r"bad 'it\'s' here", "bad '***' here"),
        ("bad \"a 'b' c\" here", "bad '***' here"),
        ("never closed 'hunter two", "never closed '***'"),
        ("never closed 'hunter two\\", "never closed '***'"),
        ("empty '' text", "empty '***' text"),
        ("no quotes at all", "no quotes at all"),
    ],
)
def test_what_counts_as_quoted(said, masked):
    assert redact.exception(ValueError(said)) == f"ValueError: {masked}"


def test_white_space_inside_a_secret_does_not_save_it():
    """The message is put on one line, which must not happen before the search."""
    redact.register("correct  horse\tbattery")
    error = ValueError("wrong: correct  horse\tbattery")
    assert redact.exception(error) == "ValueError: wrong: ***"
    redact.reset()
    assert redact.exception(error) == "ValueError: wrong: correct horse battery"


def test_each_line_of_a_secret_is_one():
    redact.register("-----BEGIN PRIVATE KEY-----\nQUJDREVGR0g\nabc\n-----END PRIVATE KEY-----\n")
    assert redact.text("line QUJDREVGR0g") == "line ***"
    assert redact.text("-----BEGIN CERTIFICATE-----abc") == "-----BEGIN CERTIFICATE-----abc"


def test_the_lines_that_frame_a_secret_are_none():
    redact.register("-----BEGIN CERTIFICATE-----\nQUJDREVGR0g\n-----END CERTIFICATE-----\n")
    sentence = "no -----BEGIN CERTIFICATE----- in the file"
    assert redact.text(f"{sentence}: QUJDREVGR0g") == f"{sentence}: ***"


def test_a_secret_of_an_environment_that_is_not_utf_8():
    os.environb[b"SHOP_API_KEY"] = b"geheim\xff12"
    assert redact.text(os.environ["SHOP_API_KEY"]) == "***"
    assert redact.text("geheim%FF12") == "***"


def test_a_password_that_looks_like_a_url():
    redact.register_url("redis://:word1://word2@cache:6379/0")
    assert redact.text("«word1://word2»") == "«***»"


def test_every_url_of_a_list_gives_its_password():
    os.environ["SHOP_REDIS"] = "redis://:first1@a:1,redis://u:sec%2Fond@b:2"
    assert redact.text("first1 or sec/ond or sec%2Fond") == "*** or *** or ***"
    assert redact.text("hosts a:1 and b:2, user u") == "hosts a:1 and b:2, user u"


WORDS_OF_URLS = [
    ("https://h.example/services/T0001/aB3dE5gH7jK9mN1pQ3sT", "aB3dE5gH7jK9mN1pQ3sT"),
    ("https://h.example/hook?sig=aB3dE5gH7jK9%2BmN1&v=1", "aB3dE5gH7jK9+mN1"),
    ("https://a/x,https://b/bot12:aB3dE5gH7jK9mN1/send", "bot12:aB3dE5gH7jK9mN1"),
]


@pytest.mark.parametrize(("url", "word"), WORDS_OF_URLS, ids=["path", "parameter", "list"])
def test_a_long_mixed_word_in_the_path_of_a_secret_url_is_one(url, word):
    for known in (True, False):
        redact.register_url(url, path=known)
        assert (word in redact.text(f"no answer from {word}")) is not known
        redact.reset()
    redact.register(url)
    assert redact.text(word) == "***"
    redact.reset()
    os.environ["SHOP_API_KEY"] = url
    assert redact.text(word) == "***"


def test_a_parameter_with_the_name_of_a_secret_is_one():
    redact.register_url("https://h.example/hook?token=geheim12&page=zweiundzwanzig&key=abc")
    assert redact.text("geheim12 zweiundzwanzig") == "*** zweiundzwanzig"


def test_the_path_of_a_url_is_a_secret_only_if_somebody_says_so():
    redact.register_url("https://h.example/services/aB3dE5gH7jK9mN1pQ3sT")
    assert redact.text("aB3dE5gH7jK9mN1pQ3sT") == "aB3dE5gH7jK9mN1pQ3sT"


def test_other_words_of_a_secret_url_are_none():
    redact.register_url(
        "https://api-eu-1.hooks.example4.com/v1/webhooks/1234567890123456789", path=True
    )
    redact.register_url("https://h.example/a-word-without-any-digit/aB3dE5gH7jK9mN1", path=True)
    sentence = (
        "api-eu-1.hooks.example4.com has no /v1/webhooks/1234567890123456789, "
        "/a-word-without-any-digit or /aB3dE5gH7jK9mN1"  # 15 characters
    )
    assert redact.text(sentence) == sentence


def test_the_longer_secret_goes_first():
    redact.register("horse")
    redact.register("horse-battery")
    redact.register("zebra")
    redact.register("battery-zebra")
    assert redact.text("horse-battery and battery-zebra") == "*** and ***"


def test_reset_forgets():
    redact.register("hunter22")
    assert redact.text("hunter22") == "***"
    redact.reset()
    assert redact.text("hunter22") == "hunter22"


@pytest.mark.parametrize("word", ["abc", "", "  ", "postgres", "PASSWORD", "user"])
def test_a_password_that_is_a_word_of_the_report_hides_nothing(word):
    redact.register(word)
    os.environ["SHOP_PASSWORD"] = word
    sentence = f"the default user postgres has no password: {word} abc true"
    assert redact.text(sentence) == sentence


def test_four_characters_are_a_secret():
    redact.register("abcd")
    assert redact.text("abcd abc") == "*** abc"


@pytest.mark.parametrize(
    "name",
    "PASSWORD DB_PASS PASS REDIS_PWD OPENAI_API_KEY OPENAI_APIKEY SECRET_KEY AWS_SECRET_ACCESS_KEY "
    "GITHUB_TOKEN SENTRY_DSN SECRET_KEY_FALLBACKS TOKEN_2 email_host_password "
    "JWT_SIGNING_KEY FIELD_ENCRYPTION_KEY PASSWORD_SALT GOOGLE_CREDENTIALS client_secret "
    "MYSQL_PASSWD DBPASS SSH_PASSPHRASE NPM_AUTH TOKENS API_KEY_V2 PASSWORD2".split(),
)
def test_names_of_secrets(name):
    assert redact.is_secret_name(name)


@pytest.mark.parametrize(
    "name",
    "PATH PWD OLDPWD KEYBOARD PASSENGER AUTH_PASSWORD_VALIDATORS PASSWORD_HASHERS TOKENIZER "
    "PASSWORD_RESET_TIMEOUT SECRET_KEY_FILE CSRF_COOKIE_NAME KEY_PREFIX CREDENTIALS_DIRECTORY "
    "SSH_AUTH_SOCK COMPASS".split(),
)
def test_names_of_ordinary_things(name):
    assert not redact.is_secret_name(name)


# ── by shape ────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("said", "masked"),
    [
        ("redis://:hunter@h:6379/0", "redis://***@h:6379/0"),
        ("see postgres://u:p/a@s#s@h/db now", "see postgres://***@h/db now"),
        ("HTTPS://token@h", "HTTPS://***@h"),
        ("rediss+sentinel://u:p@h", "rediss+sentinel://***@h"),
        ("?user=a&password=abc&x=1", "?user=a&password=***&x=1"),
        ("host=db password=hunter dbname=x", "host=db password=*** dbname=x"),
        ("password='my hunter' x", "password=*** x"),
        (r"Link(password='my \'hunter', x=1)", "Link(password=***, x=1)"),
        ('password="my hunter" x', "password=*** x"),
        ("password='hunter", "password=***"),
        ("{'password': 'hunter', 'x': 1}", "{'password': ***, 'x': 1}"),
        ('{"access_token":"hunter"}', '{"access_token":***}'),
        ("{token=hunter", "{token=***"),
        ("DRIVER=x;Uid=sa;Pwd=hunter;Encrypt=yes", "DRIVER=x;Uid=sa;Pwd=***;Encrypt=yes"),
        ("UID=sa;PWD={hun;t}}er};x=1", "UID=sa;PWD=***;x=1"),
        ("PWD={never;closed", "PWD=***;closed"),
        ("--db-password=hunter", "--db-password=***"),
        ("X-Amz-Signature=abc123", "X-Amz-Signature=***"),
        ("OPENAI_API_KEY=abc", "OPENAI_API_KEY=***"),
        ("Authorization: Bearer abcdef123456", "Authorization: Bearer ***"),
        ("Authorization: Basic dXNlcjpwYXNz", "Authorization: Basic ***"),
        ("bearer averyveryverylonglowercasetoken", "bearer ***"),
        ("key sk-abcdefgh1234", "key ***"),
        ("lsv2_pt_abcdefgh", "***"),
        ("ghp_abcdefgh1234", "***"),
        ("github_pat_abcdefgh1234", "***"),
        ("xoxb-abcdefgh1234", "***"),
        ("AKIAABCDEFGH1234", "***"),
        ("passwd=abc passphrase=def", "passwd=*** passphrase=***"),
        ("client_secret=abc&access-key=def", "client_secret=***&access-key=***"),
        ("eyJhbGciOi.eyJzdWIi.c2ln", "***"),
        ("a -----BEGIN RSA PRIVATE KEY-----\nabc\n-----END RSA PRIVATE KEY----- b", "a *** b"),
        ("a -----BEGIN PRIVATE KEY-----\nabc\nnever closed", "a ***"),
    ],
    ids=lambda _: "text",  # pytest puts the id into the environment, where URLs have an effect
)
def test_a_recognisable_secret_is_masked_although_nobody_knows_it(said, masked):
    assert redact.text(said) == masked


ORDINARY = (
    "redis://localhost:6379/0 refused the connection",
    "https://www.example.com/docs?page=2&key=3#top",
    "write to ops@example.com",
    "Redis asks for a password: set REDIS_URL",
    "HTTP basic authentication failed",
    "Basic Authentication needs a user.",
    "bearer credentials.",
    "The token expired 3 days ago",
    "password=<yours>",
    "{'token_count': 12, 'tokens': 3}",
    "line 12 of settings.py: SECRET_KEY is not set",
    "the task sk-1 is done",
    "-----BEGIN CERTIFICATE-----",
    "/srv/app/resilience/env/sources.py:57",
    "caches.default falls back to memory (12.5 ms, 1024 bytes)",
)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from(ORDINARY), min_size=1).map("; ".join), SECRETS)
def test_ordinary_words_survive(sentence, secret):
    assume(not any(len(form) >= 4 and form in sentence for form in redact._masked_forms(secret)))
    with clean_process():
        set_secret_variable(secret)
        assert redact.text(sentence) == sentence


# ── exceptions ──────────────────────────────────────────────────────────────────────────────────


def test_a_value_of_any_variable_is_masked_in_an_exception():
    """Not in other texts: there it is a name, a path, a number that the report is about."""
    os.environ["SHOP_NUMBER"] = "Ab-77-cd"
    assert redact.exception(KeyError("Ab-77-cd")) == "KeyError: '***'"
    assert redact.exception(KeyError("xAb-77-cdx")) == "KeyError: 'xAb-77-cdx'"
    assert (
        redact.exception(KeyError("xAb-77-cd or Ab-77-cdx")) == "KeyError: 'xAb-77-cd or Ab-77-cdx'"
    )
    assert redact.text("Ab-77-cd") == "Ab-77-cd"


def test_a_value_of_a_list_in_a_variable_is_masked_in_an_exception():
    os.environ["SHOP_NUMBERS"] = " Ab-77-cd,Ef-88-gh,Ij-9"
    assert redact.exception(KeyError("Ef-88-gh or Ij-9")) == "KeyError: '*** or ***'"
    os.environ["SHOP_NUMBER"] = " Kl-0 "  # four characters
    assert redact.exception(KeyError("Kl-0")) == "KeyError: '***'"


@pytest.mark.parametrize("harmless", ["production", "/srv/app", "opsproject.settings", "Ab1"])
def test_a_harmless_value_survives_in_an_exception(harmless):
    os.environ["SHOP_PLACE"] = harmless
    assert redact.exception(KeyError(harmless)) == f"KeyError: {harmless!r}"


def test_a_long_mixed_word_is_masked_in_an_exception_and_a_long_path_is_not():
    assert redact.exception(KeyError("A1b2C3d4E5f6G7h8I9j0")) == "KeyError: '***'"
    assert redact.exception(KeyError("A1b2C3d4E5f6G7h8I9j")) == "KeyError: 'A1b2C3d4E5f6G7h8I9j'"
    assert redact.exception(KeyError("abcdefghijklmnopqrstuvwxyz")).endswith("wxyz'")
    assert redact.exception(KeyError("12345678901234567890")).endswith("67890'")
    assert redact.exception(KeyError("1a345678901234567890/x")).endswith("67890/x'")
    path = "/srv/releases/2026-11-23-build-number-17/app.py"
    assert path in redact.exception(FileNotFoundError(2, "No such file or directory", path))


def test_a_decoding_error_quotes_values():
    error = UnicodeDecodeError("utf-8", b"hunter\xff", 6, 7, "invalid start byte")
    assert "utf-8" not in redact.exception(error)


def test_an_exception_is_one_line_of_bounded_length():
    masked = redact.exception(RuntimeError("word\n" * 200), limit=40)
    assert masked.startswith("RuntimeError: word word ")
    assert (len(masked), masked[-1]) == (40, "…")
    assert redact.exception(RuntimeError("a" * 26), limit=40) == "RuntimeError: " + "a" * 26
    assert redact.exception(RuntimeError()) == "RuntimeError"
    assert len(redact.exception(RuntimeError("a b " * 200))) == 300


def test_what_is_searched_is_bounded():
    """A server may send megabytes, and a certificate bundle may be called a secret."""
    assert redact.text("x" * 3000) == "x" * 2000
    redact.register("\n".join(f"line-number-{number:03}" for number in range(1, 200)))
    assert redact.text("line-number-100 line-number-101") == "*** line-number-101"


def test_an_exception_that_cannot_be_shown_is_named():
    class BrokenError(Exception):
        def __str__(self) -> str:
            raise RuntimeError

    assert redact.exception(BrokenError()) == "BrokenError: (its message cannot be shown)"


def test_a_setting_that_holds_itself_is_read_all_the_same():
    loop: list[object] = [{"API_KEY": "canary-in-a-loop"}]
    loop.append(loop)
    redact.register_settings({"ODD": loop})
    assert "canary" not in redact.text("it is canary-in-a-loop")


@pytest.mark.parametrize(("levels", "known"), [(1, True), (8, True), (9, False)])
@pytest.mark.parametrize(
    "wrap", [lambda inner: {"IN": inner}, lambda inner: {"IN": (inner,)}, lambda inner: [inner]]
)
def test_eight_levels_of_settings_are_read(wrap, levels, known):
    """Not all, for there may be no end."""
    inner: object = {"API_KEY": "canary-far-down"}
    for _ in range(levels):
        inner = wrap(inner)
    redact.register_settings(inner if isinstance(inner, dict) else {"IN": inner})
    assert ("canary" not in redact.text("it is canary-far-down")) is known


def test_settings_of_any_kind_are_read():
    redact.register_settings(
        {
            "API_KEY": b"geheim12",
            "BINARY_KEY": b"geheim34\xff",
            "KEY_PARTS": [1, None, "geheim56"],
            "SIGNING_KEY": [1, None, "geheim78"],
            "NUMBERS": (1, 2.5, None),
        }
    )
    assert redact.text("geheim12 geheim56 geheim78") == "*** geheim56 ***"


def test_settings_that_hold_themselves_end():
    settings_: dict[str, object] = {"API_KEY": "canary-in-a-loop"}
    settings_["SELF"] = settings_
    redact.register_settings(settings_)
    assert redact.text("canary-in-a-loop") == "***"


def test_a_forked_child_masks_although_a_thread_of_its_parent_was_at_it():
    with redact._lock, warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # other threads live: that is the test
        child = os.fork()
        if not child:
            signal.alarm(5)
            redact.register("hunter22")
            os._exit(redact.text("hunter22") != "***")
    assert os.waitpid(child, 0)[1] == 0


# ── terminals ───────────────────────────────────────────────────────────────────────────────────


@given(st.text())
def test_printable_text_is_one_line_that_no_terminal_obeys(value):
    assert redact.printable(value).isprintable()


def test_printable_text_stays_readable():
    assert redact.printable("Größe 5 €") == "Größe 5 €"
    assert redact.printable("ä\nb\tc\x1b[31m\u202e") == "ä b c\\x1b[31m\\u202e"


@contextmanager
def changing_environment() -> Iterator[None]:
    """Another thread sets and deletes variables all the time."""
    over = threading.Event()

    def change() -> None:
        number = 0
        while not over.is_set():
            number += 1
            os.environ[f"CHANGING_{number % 50}"] = "some value"
            os.environ.pop(f"CHANGING_{(number + 25) % 50}", None)

    thread = threading.Thread(target=change)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def survives(call: Callable[[], object], seconds: float) -> bool:
    ends = time.monotonic() + seconds
    try:
        while time.monotonic() < ends:
            call()
    except KeyError:
        return False
    return True


def test_the_environment_may_change_meanwhile():
    """A dial that fails is told in the connector's thread, which must outlive it."""
    with changing_environment():
        assert survives(lambda: redact.exception(ValueError("some text")), 0.3)


def test_the_environment_may_change_meanwhile__twin():
    with changing_environment():
        assert not survives(lambda: dict(os.environ), 5.0)
