"""Secrets: encryption at rest, and masking in every encoding and at every chunk boundary."""

from __future__ import annotations

import base64
import html
import json
import re
import stat
from collections.abc import Iterator
from itertools import pairwise
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from nbflow.config import Settings
from nbflow.errors import SecretsError
from nbflow.secret_box import SecretBox, new_key, read_key_file
from nbflow.secrets_masker import MASK, SENSITIVE_WORDS, Masker, StreamMasker, is_sensitive_name, sensitive_values

SECRET = "s3cr&t/p+ss\"wörd'\\!"
PEM = "-----BEGIN KEY-----\nMIIEvQIBADANBgkq\nhkiG9w0BAQEFAASC\n-----END KEY-----\n"

# -------------------------------------------------------------------------------------------------------------- at rest


def test_an_encrypted_secret_can_be_decrypted_and_is_not_readable():
    box = SecretBox([new_key()])
    stored = box.encrypt(SECRET)
    assert box.decrypt(stored) == SECRET
    assert SECRET not in stored
    assert box.encrypt(SECRET) != stored  # equal secrets have different ciphertexts


def test_rotation_moves_a_secret_to_the_newest_key():
    # Given a secret stored with the old key, and a box that has both
    old, new = new_key(), new_key()
    stored = SecretBox([old]).encrypt(SECRET)
    rotated = SecretBox([new, old]).rotate(stored)
    # Then the old key is not needed any more, and does not help
    assert SecretBox([new]).decrypt(rotated) == SECRET
    with pytest.raises(SecretsError):
        SecretBox([old]).decrypt(rotated)


@pytest.mark.parametrize("change", [lambda text: text[:-6] + "AAAAA=", lambda text: "", lambda text: SECRET])
def test_a_changed_ciphertext_is_refused(change):
    box = SecretBox([new_key()])
    with pytest.raises(SecretsError, match="cannot be decrypted"):
        box.decrypt(change(box.encrypt(SECRET)))


def test_a_bad_key_is_refused_and_not_shown():
    with pytest.raises(SecretsError) as caught:
        SecretBox(["not-a-key"])
    assert "not-a-key" not in str(caught.value)


def test_the_key_file_is_created_once_and_private_to_its_owner(tmp_path):
    path = tmp_path / "home" / "fernet.key"
    first = read_key_file(path)
    assert (read_key_file(path), oct(stat.S_IMODE(path.stat().st_mode))) == (first, "0o600")


def test_a_key_file_that_other_users_can_read_is_refused(tmp_path):
    path = tmp_path / "fernet.key"
    read_key_file(path)
    path.chmod(0o640)
    with pytest.raises(SecretsError, match=r"is readable by other users\. Run: chmod 600"):
        read_key_file(path)


def test_configured_keys_are_used_before_the_file(home):
    key = new_key()
    stored = SecretBox.of(Settings.load({"NBFLOW__CORE__FERNET_KEY": f"{key}, {new_key()}"}, home)).encrypt("x")
    assert (SecretBox([key]).decrypt(stored), home.exists()) == ("x", False)


def test_without_a_configured_key_the_homes_file_is_used(nbflow_settings):
    stored = SecretBox.of(nbflow_settings).encrypt("x")
    assert SecretBox.of(nbflow_settings).decrypt(stored) == "x"


# ------------------------------------------------------------------------------------------------------- what is secret


@pytest.mark.parametrize(
    "name", ["password", "DB_PASSWORD", "api-key", "ApiKey", "aws_secret_access_key", "Authorization"]
)
def test_names_of_secrets(name):
    assert is_sensitive_name(name)


@pytest.mark.parametrize("name", ["host", "login", "pass", "key", "compass"])
def test_names_that_are_not_sensitive(name):
    assert not is_sensitive_name(name)


def test_additional_sensitive_names():
    assert is_sensitive_name("customer_iban", more=["iban"])


def test_sensitive_values_are_found_at_any_depth():
    content = {
        "host": "h",
        "password": "p1",
        "nested": [{"token": {"id": "p2", "n": 3}}],
        "api_key": None,
        "secret": True,
    }
    assert list(sensitive_values(content)) == ["p1", "p2", "3"]


# -------------------------------------------------------------------------------------------------------------- in text

FORMS = {
    "plain": SECRET,
    "url": quote(SECRET, safe=""),
    "url path": quote(SECRET),
    "form": quote_plus(SECRET),
    "json": json.dumps(SECRET),
    "json in utf-8": json.dumps(SECRET, ensure_ascii=False),
    "repr": repr(SECRET),
    "bytes": repr(SECRET.encode()),
    "html": html.escape(SECRET),
    "hex": SECRET.encode().hex(),
    "base64": base64.b64encode(SECRET.encode()).decode(),
    "basic auth, one before": base64.b64encode(b"u" + SECRET.encode() + b"u").decode(),
    "basic auth, two before": base64.urlsafe_b64encode(b"u:" + SECRET.encode()).decode(),
    "basic auth, three before": base64.b64encode(b"us:" + SECRET.encode()).decode(),
}


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_no_four_consecutive_characters_of_any_form_remain(form):
    masked = Masker([SECRET]).mask(f"<{form}>")
    pieces = {form[start : start + 4] for start in range(2, len(form) - 6)}
    assert MASK in masked
    assert [piece for piece in pieces if piece in masked] == []


def test_every_line_of_a_secret_of_many_lines_is_masked():
    masker = Masker([PEM])
    texts = [
        PEM,
        PEM.replace("\n", "\\n"),
        "log: MIIEvQIBADANBgkq",
        json.dumps({"key": PEM}),
        PEM.replace("\n", "\r\n"),
    ]
    for text in texts:
        assert "MIIEvQIB" not in masker.mask(text)
        assert "hkiG9w0B" not in masker.mask(text)


def test_overlapping_secrets_are_masked_completely():
    masker = Masker(["abcdefg", "efghijk"])
    assert masker.mask("--abcdefghijk--") == "--***--"


def test_the_rest_of_the_text_is_unchanged():
    assert Masker(["hunter22"]).mask("user=me password=hunter22 (hunter2)") == "user=me password=*** (hunter2)"


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("password=ab", "password=***"),
        ('{"password": "ab", "x": "ab"}', '{"password": "***", "x": "ab"}'),
        ("MY_TOKEN : 'ab'", "MY_TOKEN : '***'"),
        ("postgresql://me:ab@host/db", "postgresql://me:***@host/db"),
        ("a cab about ab", "a cab about ab"),
        ("password=abc", "password=abc"),
    ],
)
def test_a_short_secret_is_masked_after_a_sensitive_name(text, masked):
    assert Masker(["ab"]).mask(text) == masked


def test_a_secret_of_a_few_letters_is_masked_as_a_word():
    assert Masker(["fox"]).mask("fox foxes (fox) firefox") == "*** foxes (***) firefox"


def test_without_secrets_text_is_unchanged():
    assert Masker(["", "abcdef"]).mask("a text") == "a text"


def test_values_are_masked_by_name_and_by_text_at_any_depth():
    masker = Masker(["hunter22"], sensitive_names=["iban"])
    value = {
        "password": "x",
        "iban": {"a": 1},
        "token": None,
        "args": ["--pw=hunter22", ("hunter22", 5, True)],
        "hunter22": "key",
    }
    assert masker.mask_value(value) == {
        "password": MASK,
        "iban": MASK,
        "token": None,
        "args": [f"--pw={MASK}", (MASK, 5, True)],
        MASK: "key",
    }


def test_secrets_of_a_connections_extra_are_found_by_their_names():
    masker = Masker()
    masker.add_from({"region": "eu-west-1", "aws_secret_access_key": "wJalrXUtnFEMI"})
    assert masker.mask("eu-west-1 wJalrXUtnFEMI") == "eu-west-1 ***"


def test_a_short_secret_is_masked_everywhere_where_nothing_else_matters():
    masker = Masker(["77", "a1"])
    assert masker.mask("echo 77 x77y a1") == "echo 77 x77y a1"
    assert masker.mask("echo 77 x77y a1", everywhere=True) == "echo *** x***y ***"
    assert masker.mask_value({"n": 77, "m": 78, "b": True}, everywhere=True) == {"n": MASK, "m": 78, "b": True}


def test_a_copy_knows_the_secrets_and_learns_others_by_itself():
    masker = Masker(["hunter22"], sensitive_names=["iban"])
    copy = masker.copy()
    copy.add_variable("iban", "DE89370400")
    assert copy.mask("hunter22 DE89370400") == "*** ***"
    assert masker.mask("hunter22 DE89370400") == "*** DE89370400"


def test_the_fields_of_a_key_file_that_is_stored_as_text_are_masked():
    masker = Masker()
    masker.add_from({"keyfile_dict": json.dumps({"private_key": PEM, "project": "warehouse-7"})})
    assert masker.mask(f"{PEM}\nwarehouse-7") == "***\n***"


def test_a_sensitive_name_with_a_dash_matches_and_an_empty_one_matches_nothing():
    assert is_sensitive_name("customer_iban", more=["customer-iban"])
    assert not is_sensitive_name("host", more=["", " "])


# ------------------------------------------------------------------------------------------------------------ in pieces

_LETTERS = st.text("abc=: \n@/_", max_size=40)
_SECRETS = st.lists(st.text("abc\n:@", min_size=1, max_size=8), min_size=1, max_size=4)
_WORDS = st.lists(_LETTERS | st.sampled_from(["password=", "://a:", "token: '", 'Api_Key :\n\n"']), max_size=8)
_NAME = "|".join(word.replace("_", "[_-]?") for word in SENSITIVE_WORDS)


def _covered(masker: Masker, text: str) -> Iterator[tuple[int, int]]:
    """The occurrences of secrets, each judged by its own place in the whole text."""
    for form in masker.forms:
        for start in range(len(text)):
            before, after = text[:start], text[start + len(form) :]
            if not text.startswith(form, start):
                continue
            by_name = re.search(rf"(?i:{_NAME})[\"']?\s{{0,2}}[:=]\s{{0,2}}[\"']?\Z", before)
            in_login = re.search(r"://[^:/@\s]{0,32}:\Z", before) and after.startswith("@")
            is_word = len(form) >= 3 and not re.search(r"\w\Z", before)
            if form in masker._long or ((by_name or in_login or is_word) and not re.match(r"\w", after)):
                yield start, start + len(form)


def _oracle(masker: Masker, text: str) -> str:
    """``Masker.mask``, spelled out: each run of overlapping occurrences becomes one ``***``."""
    result, end = "", 0
    for start, stop in sorted(_covered(masker, text)):
        if start >= end:
            result, end = result + text[end:start] + MASK, start
        end = max(end, stop)
    return result + text[end:]


def _cut(text: str, cuts: list[int]) -> list[str]:
    places = sorted({0, len(text), *(cut % (len(text) + 1) for cut in cuts)})
    return [text[start:end] for start, end in pairwise(places)]


@given(_SECRETS, _WORDS, st.lists(st.integers(0, 400)))
@example(["abcab", "ab", "bca"], ["abcabcabcab", "password=", "ab", " ab"], list(range(40)))
@example(["\n\n\n", "a", "aaa", "aaa"], ["\n\n\n", "", ":"], [159])
@example(["\n\n\n"], ["password:\n", "\n\n\n"], [3, 9, 11])
@example(["aaa"], ["x" * 60 + "aaa "], [60, 61])
def test_masking_a_text_or_its_chunks_equals_masking_each_occurrence(secrets, words, cuts):
    # Given a text full of secrets and of parts of them
    text = "".join(word + secret[: 1 + index] for index, word in enumerate(words) for secret in secrets)
    masker = Masker(secrets)
    stream = StreamMasker(masker)
    # When it is masked in chunks
    shown = "".join([stream.feed(piece) for piece in _cut(text, cuts)]) + stream.flush()
    # Then the result is that of the whole text, and that of the oracle
    assert shown == masker.mask(text) == _oracle(masker, text)


@given(st.lists(st.text(min_size=1, max_size=12), min_size=1, max_size=3), st.data())
def test_the_chunks_of_any_characters_do_not_matter(secrets, data):
    masker = Masker(secrets)
    pieces = st.sampled_from(masker.forms) | st.text(max_size=6) | st.sampled_from([*SENSITIVE_WORDS, "=", ": '"])
    text = "".join(data.draw(st.lists(pieces, max_size=12)))
    raw = text.encode(errors="surrogatepass")
    cuts = sorted({0, len(raw), *data.draw(st.lists(st.integers(0, len(raw))))})
    stream = StreamMasker(masker)
    shown = "".join(stream.feed(raw[start:end]) for start, end in pairwise(cuts)) + stream.flush()
    assert shown == masker.mask(raw.decode(errors="replace"))


def test_a_secret_cut_between_every_byte_is_masked():
    stream = StreamMasker(Masker([SECRET]))
    text = f"before {SECRET} after".encode()
    assert "".join(stream.feed(bytes([byte])) for byte in text) + stream.flush() == "before *** after"


def test_an_ordinary_line_passes_at_once():
    stream = StreamMasker(Masker(["hunter22"]))
    assert stream.feed("all is well\n") == "all is well\n"


def test_only_a_possible_beginning_of_a_secret_is_buffered():
    stream = StreamMasker(Masker(["hunter22"]))
    shown = [stream.feed("we hunt"), stream.feed("ed; a hunter"), stream.feed("22 came"), stream.flush()]
    assert shown == ["we ", "hunted; a ", "*** came", ""]


def test_a_secret_that_is_added_later_is_masked_from_then_on():
    masker = Masker()
    stream = StreamMasker(masker)
    first = stream.feed("hunter22 ")
    masker.add("hunter22")
    assert (first, stream.feed("hunter22 ")) == ("hunter22 ", "*** ")


def test_the_buffer_stays_small():
    stream = StreamMasker(Masker(["aaaaaaaa"]))
    for _ in range(1000):
        stream.feed("a" * 100)
    assert len(stream._buffer) < 8


def test_invalid_utf8_becomes_a_replacement_character():
    stream = StreamMasker(Masker(["hunter22"]))
    assert stream.feed(b"\xff\xe2\x82") + stream.flush() == "\ufffd\ufffd"


def test_text_that_would_make_a_regex_backtrack_is_masked_in_time():
    masker = Masker([SECRET, PEM, "ab", "fox"])
    hostile = "://" * 20_000 + "password" * 20_000 + "a" * 500_000
    assert masker.mask(f"{hostile} password=fox {SECRET}") == f"{hostile} password=*** ***"
