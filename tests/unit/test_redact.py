import json
import re
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flows.dead_letter import DeadLetter, Reason, UnfitError
from flows.message import Message
from flows.normalize import dead_letter, normalize
from flows.patterns import HIDDEN_KEY, PATTERNS, PatternError, load_patterns
from flows.redact import TOGETHER_BYTES, Redactor
from tests.unit.deliveries import LIMIT, delivered

STREAMS = Path(__file__).parents[3] / "shared" / "data" / "codex"
JWT = "eyJhbGciOiJIUzI1NiJ9" + ".eyJzdWIiOiIxMjM0NTY3ODkwIn0" + ".dozjgNryP4J3jVmNHl0w5N_XgL0n3I9PlFUP0THsR8U"
PEM = "-----BEGIN RSA PRIVATE KEY-----\n" + "MIIEowIBAAKCAQEA1c7\n" * 3 + "-----END RSA PRIVATE KEY-----"

# Put together here, so that no scanner takes this file for a leak.
CREDENTIALS = {
    "AKIA" + "IOSFODNN7EXAMPLE": "aws-access-key",
    "ghp_" + "a1B2" * 9: "github-token",
    "github_pat_" + "11ABCDE_" * 5: "github-token",
    "glpat-" + "x7Y_" * 5: "gitlab-token",
    "sk-ant-" + "api03-" + "Zz9_" * 20: "anthropic-key",
    "sk-" + "T3st" * 12: "openai-key",
    "sk-proj-" + "T3st" * 12: "openai-key",
    "AIza" + "SyA1b2C3d" * 3 + "12345678": "google-key",
    "xoxb-" + "1234567890-abcdef": "slack-token",
    "sk_live_" + "4eC39HqLyjWDarjtT1zdp7dc": "stripe-key",
    "hf_" + "abcDEF123456" * 3: "huggingface-token",
    "npm_" + "a1b2" * 9: "npm-token",
    "dckr_pat_" + "a1B2" * 6: "docker-token",
    "SU" + "AB23" * 14: "nats-seed",
    JWT: "jwt",
    PEM: "private-key",
    "postgresql://app:" + "s3cret@db.internal/app": "url-password",
    "Authorization: Bearer " + "abcdef0123456789": "bearer-token",
    "Authorization: Basic " + "YWxhZGRpbjpvcGVuc2VzYW1l": "basic-auth",
    "hvs." + "CAESIJ0a" * 4: "vault-token",
    "dop_v1_" + "0a1b2c3d" * 8: "digitalocean-token",
    "AGE-SECRET-KEY-1" + "QP7Z" * 14 + "QP": "age-key",
    "Authorization: token " + "0123456789abcdef": "authorization",
    "X-Api-Key: " + "0123456789abcdef": "api-key",
    "aws_secret_access_key = " + "wJalrXUtnFEMIwK7MDENGwbPxRfiCYEXAMPLEKEY": "aws-secret-key",
    "mysql --password=" + "sup3rS3cret": "option",
    '{"db_password": "' + 'sup3rS3cret"}': "named",
    "export TOKEN=" + "sup3rS3cret": "environment-secret",
    "POSTGRES_PASSWORD: " + "sup3rS3cret": "named",
    "password: " + "sup3rS3cret": "named",
    "host=db password=" + "sup3rS3cret": "named",
    "GET /v1?page=2&access_token=" + "sup3rS3cret": "named",
    "curl -sS -u admin:" + "sup3rS3cret https://registry.internal/v2/": "option",
    "curl -X POST --user 'admin:" + "plain words are no excuse'": "option",
    "agc_" + "a1B-_2c" * 6 + "x": "agent-comms-token",
    "Cookie: theme=dark; sid=" + "s3cretS3cret; plain": "cookie",
    'set-cookie: sid="' + 's3cretS3cret"; Path=/; HttpOnly': "cookie",
    'config is {\\"password\\": \\"' + 'hunter2hunter2\\"}': "named",
    '"{\\\\\\"api.token\\\\\\":\\\\\\"' + 'hunter2hunter2\\\\\\"}"': "named",
    "token=" + "sup3rS3cret": "named",
    "csrf_token='" + "sup3rS3cret'": "named",
    "https://example.com/hook?token=" + "abcdefgh": "named",
    "GET /v1?page=2&auth.token=" + "abc%2Fdefgh&x=1": "named",
    "AWS_SECRET_ACCESS_KEY=" + "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY": "environment-secret",
}


def redacted(payload: dict[str, Any], **more: Any) -> Message:
    message = normalize(delivered({"message_id": "m", **payload}), LIMIT)
    assert isinstance(message, Message)
    return Redactor(**more).message(message)


def letter_of(payload: bytes) -> DeadLetter:
    return dead_letter(delivered(payload), UnfitError(Reason.NOT_JSON, "It is no JSON."))


@pytest.mark.parametrize(("credential", "kind"), CREDENTIALS.items(), ids=CREDENTIALS.values())
def test_a_credential_is_replaced_wherever_it_stands(credential: str, kind: str) -> None:
    message = redacted(
        {
            "content": f"I ran it with {credential} and it worked",
            "tool": {"name": "shell", "input": {"command": ["run", credential]}, "output": {credential: 1}},
        }
    )
    stored = json.dumps([message.content, message.attrs])
    assert json.dumps(credential)[1:-1] not in stored
    assert f"[redacted:{kind}]" in message.content
    assert message.content.startswith("I ran it with ")
    assert message.content.endswith(" and it worked")
    assert message.attrs["redacted"] == [kind]


def test_a_marker_in_a_url_is_taken_for_no_password() -> None:
    message = redacted({"content": "https://ghs_" + "16C7e42F" * 5 + "@github.com/x/y"})
    assert message.content == "https://[redacted:github-token]@github.com/x/y"


def test_the_marker_leaves_what_is_around_a_password_in_a_url() -> None:
    message = redacted({"content": "see amqp://guest:" + "hunter2@mq:5672/v and https://user@host/a:b"})
    assert message.content == "see amqp://guest:[redacted:url-password]@mq:5672/v and https://user@host/a:b"


@pytest.mark.parametrize(
    "name",
    [
        "password",
        "apiKey",
        "API_KEY",
        "client-secret",
        "Authorization",
        "github_token",
        "x-api-key",
        "X-API-Key",
        "APIKey",
        "API_Key",
        "sessionID",
        "AccessKEY",
        "Private_Key",
        "PaSsWoRd",
        "api key",
        "api.key",
        "MYSQL_PWD",
        "pass",
    ],
)
def test_the_name_of_a_key_tells_a_credential(name: str) -> None:
    message = redacted({"content": "x", "attrs": {"deep": [{name: "plain words"}]}})
    assert message.attrs["deep"] == [{name: "[redacted:named]"}]
    assert message.attrs["redacted"] == ["named"]


@pytest.mark.parametrize("value", [12345678901, "[redacted: by nobody", ["plain words"], {"deeper": "plain words"}])
def test_what_has_a_secret_name_is_replaced_whatever_it_is(value: Any) -> None:
    message = redacted({"content": "x", "tool": {"name": "t", "input": {"password": value}}})
    assert "12345678901" not in json.dumps(message.attrs)
    assert "nobody" not in json.dumps(message.attrs)
    assert "plain words" not in json.dumps(message.attrs)


@pytest.mark.parametrize(
    "attrs",
    [
        {"input_tokens": 1200, "output_tokens": "12"},
        {"tokenizer": "bpe", "secretary": "Ada", "author": "grace", "keyboard": "qwerty", "monkey": "yes"},
        {"password": "", "token": None, "secret": 7},
    ],
)
def test_other_names_keep_their_values(attrs: dict[str, Any]) -> None:
    message = redacted({"content": "x", "attrs": attrs})
    assert attrs.items() <= message.attrs.items()
    assert "redacted" not in message.attrs


@pytest.mark.parametrize(
    "text",
    [
        "sk-learn and sk-1 are no keys, nor is sk-" + "a" * 40,
        "commit 4eC39HqLyjWDarjtT1zdp7dc4eC39HqLyjWDarjt",
        "AKIA is a prefix; ghp_ too; eyJ begins base64 of {",
        "git clone https://github.com/a/b.git and ssh://git@host:22/x",
        "TOKEN=$GITHUB_TOKEN PASSWORD=changeme",
        "token = next(tokens)",
        "SUBSCRIBERS SANDBOX SOLID",
        "bearer of bad news, Bearer authentication",
        "Basic authentication; authorization: none",
        "password: config.db1.password, password=os.environ['DB1'], api_key=get_key1(), access_token: string;",
        "password: must have 8 characters and 1 digit",
        "docker run -u 1000:1000 img; curl -u $USER:$PASS https://example.com; curl --unix-socket a:b",
        "-----BEGIN RSA PRIVATE KEY----- is how a key begins, and its end looks alike",
        "\x1b[31mred\x1b[0m and \x1b[1mbold\x1b[0m",
        "token=None, token=token, max_tokens=4096, token=get_token1(x), token=self.token2_old, token=auth_token_v2",
        "f(token=12345678) token=changeme token=$TOKEN ?token=YOUR_TOKEN&n=1 ?token=<your-token> &token={token}",
        "Cookie: made of oats; the cookie: dict[str, str] = {}; Set-Cookie: is a header, agc_ a prefix",
        r"{\"token\": \"string\", \"password\": \"changeme\"}",
        '"token": "string", "password": "changeme", --password is asked for, --token TOKEN',
    ],
)
def test_ordinary_text_is_left_alone(text: str) -> None:
    message = redacted({"content": text})
    assert message.content == text
    assert "redacted" not in message.attrs


_words = st.sampled_from([*CREDENTIALS, "nothing", "a token", "https://example.com/x", "\u00e9", "sk_", "Key=", "\n"])
_payloads = st.fixed_dictionaries(
    {"content": st.lists(_words, min_size=1, max_size=4).map(" ".join)},
    optional={"attrs": st.dictionaries(st.sampled_from(["password", "turn", "x-api-key"]), _words, max_size=2)},
)


@given(st.lists(st.tuples(_payloads, st.booleans()), max_size=12))
def test_a_batch_is_redacted_as_each_of_its_messages_searched_for_everything(
    payloads: list[tuple[dict[str, Any], bool]],
) -> None:
    messages = []
    for payload, ascii_only in payloads:
        message = normalize(delivered(json.dumps(payload, ensure_ascii=ascii_only).encode()), LIMIT)
        if isinstance(message, Message):
            messages.append(message)
    without_bytes = [msgspec.structs.replace(message, origin=None) for message in messages]
    redactor = Redactor()
    searched = [msgspec.structs.replace(message, origin=None) for message in redactor.messages(messages)]
    assert searched == redactor.messages(without_bytes)


@pytest.mark.parametrize("secret", CREDENTIALS)
def test_a_value_is_searched_for_whatever_is_in_it_and_stops_between_its_parts(secret: str) -> None:
    breaths: list[int] = []
    parts = [{"name": f"part-{number}"} for number in range(1_000)]
    value = {"parts": parts, "said": [f"\x1b[31m{secret[:5]}\x1b[0m{secret[5:]}", f"it is {secret}"], "passWord": "x"}
    kept = Redactor().value(value, set(), lambda: breaths.append(0))
    assert secret not in kept["said"][0]
    assert secret not in kept["said"][1]
    assert (kept["parts"], kept["passWord"]) == (parts, "[redacted:named]")
    assert len(breaths) >= len(parts)


def test_a_large_payload_among_small_ones_is_searched_to_its_end() -> None:
    secret = "ghp_" + "a1B2" * 9
    contents = ["small", "x" * (2 * TOGETHER_BYTES) + f" {secret}", "small", secret, "small"]
    messages = [normalize(delivered({"content": content}), 10 * TOGETHER_BYTES) for content in contents]
    redacted = Redactor().messages([message for message in messages if isinstance(message, Message)])
    assert [secret in message.content for message in redacted] == [False] * 5
    assert ["redacted" in message.attrs for message in redacted] == [False, True, False, True, False]


def test_a_message_without_credentials_is_not_copied() -> None:
    message = normalize(delivered({"content": "nothing here"}), LIMIT)
    assert isinstance(message, Message)
    assert Redactor().message(message) is message


def test_an_escaped_credential_is_found_too() -> None:
    data = b'{"content": "\\u0041KIAIOSFODNN7EXAMPLE"}'
    message = normalize(delivered(data), LIMIT)
    assert isinstance(message, Message)
    assert Redactor().message(message).content == "[redacted:aws-access-key]"


def test_a_dead_letter_keeps_its_bytes_without_the_credentials() -> None:
    secret = "ghp_" + "a1B2" * 9
    data = b'\xff not json {"password": "hunter\\"2", "x": "' + secret.encode() + b'"}'
    block = b"NATS/1.0\r\nAuthorization: Basic abc\r\nX-Kind: log\r\n\r\n"
    letter = normalize(delivered(data, header_block=block), LIMIT)
    assert isinstance(letter, DeadLetter)
    kept = Redactor().letter(letter)
    assert kept.payload == b'\xff not json {"password": "[redacted:named]", "x": "[redacted:github-token]"}'
    assert kept.headers == {"Authorization": "[redacted:named]", "X-Kind": "log"}
    assert kept.dedupe_key == letter.dedupe_key
    assert (letter.redacted, kept.redacted) == ((), ("github-token", "named"))


def test_a_private_key_that_is_cut_off_is_hidden_to_its_last_line() -> None:
    line = "MIIEowIBAAKCAQEA" * 4
    for between in ("\n", "\\n", "\r\n"):
        head = f"-----BEGIN RSA PRIVATE KEY-----{between}"
        assert (
            redacted({"content": f"{head}{line}{between}{line}{between}MIIEow"}).content
            == f"{head}[redacted:private-key]"
        )
        shown = redacted({"content": f"{head}{line}{between}{line}{between}… 12 more lines"}).content
        assert shown == f"{head}[redacted:private-key]{between}… 12 more lines"


def test_a_line_that_its_reader_has_hidden_is_told_and_nothing_that_speaks_of_it() -> None:
    message = redacted({"content": HIDDEN_KEY})
    assert (message.content, message.attrs["redacted"]) == (HIDDEN_KEY, ["private-key"])
    assert "redacted" not in redacted({"content": f"I saw {HIDDEN_KEY}"}).attrs


def test_a_credential_that_styles_part_is_hidden_and_the_styles_with_it() -> None:
    red, off = "\x1b[01;31m\x1b[K", "\x1b[m\x1b[K"
    half = "a1B2" * 4
    for parted in (f"{red}ghp_{off}{half * 2}a1B2", f"g{red}hp{off}_{half * 2}a1B2", f"ghp_{half}{red}{half}{off}a1B2"):
        message = redacted({"content": f"{red}x{off} {parted}", "tool": {"name": "shell", "output": parted}})
        assert message.content == "x [redacted:github-token]"
        assert message.attrs["tool"]["output"] == "[redacted:github-token]"


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_a_dead_letter_in_another_unicode_hides_its_credentials_too(encoding: str) -> None:
    secret = "ghp_" + "a1B2" * 9
    letter = normalize(delivered(f'not json, {secret} and "password": "hunter2"'.encode(encoding)), LIMIT)
    assert isinstance(letter, DeadLetter)
    kept = Redactor().letter(letter).payload
    assert kept.decode(encoding) == 'not json, [redacted:github-token] and "password": "[redacted:named]"'
    plain = msgspec.structs.replace(letter, payload="no secret".encode(encoding) + b"\0")
    assert Redactor().letter(plain) is plain


# How a text may be spelled, and what may stand beside a token without being a part of it.
_ENCODINGS = ("ascii", "utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be")
_TOKENS = {token: kind for token, kind in CREDENTIALS.items() if re.fullmatch(r"[\w-]+", token)}
_edges = st.sampled_from([b"\xff", b".", b"\0\0\0\0", b"\x0b\0\0\0", b"\xfe\xff", b"\xff\xfe "])
_between = st.tuples(_edges, st.binary(max_size=12), _edges).map(b"".join)


@given(
    st.binary(max_size=3),
    st.lists(st.tuples(_between, st.sampled_from([*_TOKENS]), st.sampled_from(_ENCODINGS), _between)),
)
def test_a_token_is_replaced_in_place_however_it_is_spelled_wherever_it_stands_in_whatever_bytes(
    first: bytes, tokens: list[tuple[bytes, str, str, bytes]]
) -> None:
    sent, expected = [first], [first]
    for before, token, encoding, after in tokens:
        sent += [before, token.encode(encoding), after]
        expected += [before, f"[redacted:{_TOKENS[token]}]".encode(encoding), after]
    kept = Redactor().letter(letter_of(b"".join(sent)))
    assert kept.payload == b"".join(expected)


@pytest.mark.parametrize(
    "before", ["00", "0000", "7800", "00610062 20", "0b000000", "feff", "fffe20", "0000feff", "efbbbf", "aa"]
)
@pytest.mark.parametrize("encoding", _ENCODINGS)
def test_no_first_bytes_of_a_dead_letter_tell_how_the_others_are_read(before: str, encoding: str) -> None:
    secret, marker = "ghp_" + "a1B2" * 9, "[redacted:github-token]"
    text = f' {secret} "password": "h\u00fcnter\u4e2d2" {secret.upper()} \U0001f511 AKIA' + "Q3EGRTYUIOPLKJHG"
    codec = "utf-8" if encoding == "ascii" else encoding
    kept = Redactor().letter(letter_of(bytes.fromhex(before) + text.encode(codec))).payload
    said = f' {marker} "password": "[redacted:named]" {secret.upper()} \U0001f511 [redacted:aws-access-key]'
    assert kept == bytes.fromhex(before) + said.encode(codec)


@pytest.mark.parametrize("credential", CREDENTIALS)
@pytest.mark.parametrize("encoding", _ENCODINGS)
def test_every_credential_is_found_in_every_encoding_between_other_bytes(credential: str, encoding: str) -> None:
    between = "\u4e2d".encode(encoding) if encoding != "ascii" else b"\xff\0"
    spaced = f"{credential}\n".encode(encoding)
    letter = letter_of(b"\x01" + between + spaced + between)
    kept = Redactor().letter(letter)
    assert spaced not in kept.payload
    assert kept.payload.startswith(b"\x01" + between)
    assert kept.payload.endswith("\n".encode(encoding) + between)


def test_a_dead_letter_that_is_json_in_another_unicode_is_read_as_its_bytes_too() -> None:
    secret = ("ghp_" + "a1B2" * 9).encode()
    sent = '{"a": "'.encode("utf-16-le") + secret + '"}'.encode("utf-16-le")
    assert json.loads(sent)["a"]
    kept = Redactor().letter(letter_of(sent)).payload
    assert kept == sent.replace(secret, b"[redacted:github-token]")


@pytest.mark.parametrize("first", ['"ghp_{}"', '{{"b": ["ghp_{}"]}}', '{{"b": "ghp_{}", "b": 1}}'])
def test_a_dead_letter_with_a_key_twice_hides_both_values(first: str) -> None:
    secret = "a1B2" * 9
    sent = '{"a": ' + first.format(secret) + ', "a": null}'
    assert json.loads(sent) == {"a": None}
    assert secret.encode() not in Redactor().letter(letter_of(sent.encode())).payload


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    "unit",
    [
        b"SU\0\0",
        b"S\0U\0A\0K\0",
        b"A\0\0\0K\0\0\0I\0\0\0A\0\0\0\xff\xff\xff\xff",
        b"\n\0\0\0s\0\0\0k\0\0\0-\0\0\0\xff",
        b"\0\0\0g\0\0\0h\0\0\0p\0\0\0_\x11",
        b"\0g\0h\0p\0_x",
    ],
)
def test_no_bytes_take_long_to_be_read_in_every_way(unit: bytes) -> None:
    # Looking through what follows at each place anew would need hours for it.
    letter = letter_of(b"\0" + unit * (200_000 // len(unit)))
    assert Redactor().letter(letter) is letter


@pytest.mark.parametrize(
    "payload",
    [
        b'{"attrs": {"k": "\\u0041KIAIOSFODNN7EXAMPLE", "p\\u0061ssword": "hunter2hunter2"}}',
        b'{"password": 98765432101, "token": ["hunter2hunter2"], "secret": {"a": "hunter2hunter2"}}',
        b'{"my db password": "hunter2hunter2", "api.key": "hunter2hunter2"}',
        b'{"password": "' + b"hunter2" * 3_000 + b'"}',
        b'not json {"password": "' + b"hunter2" * 3_000 + b'"}',
    ],
)
def test_a_dead_letter_hides_what_a_row_would(payload: bytes) -> None:
    letter = normalize(delivered(payload), LIMIT)
    assert isinstance(letter, DeadLetter)
    kept = Redactor().letter(letter).payload
    assert not any(secret in kept for secret in (b"hunter2", b"IOSFODNN7EXAMPLE", b"98765432101"))
    assert b"[redacted:" in kept


def test_a_company_adds_its_own_patterns(tmp_path: Path) -> None:
    file = tmp_path / "patterns.toml"
    file.write_text('[[pattern]]\nkind = "badge"\nregex = "BADGE-[0-9]{4}"\n')
    message = redacted({"content": "see BADGE-1234"}, more=load_patterns(file))
    assert message.content == "see [redacted:badge]"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('[[pattern]]\nkind = "badge"\nregex = "("\n', "pattern `badge`"),
        ('[[pattern]]\nkind = "badge"\n', "missing required field `regex`"),
        ("[[pattern", "patterns.toml"),
    ],
)
def test_a_wrong_pattern_file_is_one_line_that_says_where(tmp_path: Path, text: str, words: str) -> None:
    file = tmp_path / "patterns.toml"
    file.write_text(text)
    with pytest.raises(PatternError, match=words) as raised:
        load_patterns(file)
    assert "\n" not in str(raised.value)


@given(st.text(max_size=200))
def test_redacting_twice_is_redacting_once(text: str) -> None:
    redactor = Redactor()
    once = redactor.text(text, set())
    assert redactor.text(once, set()) == once


@pytest.mark.timeout(30)
@pytest.mark.parametrize("pattern", PATTERNS, ids=lambda pattern: pattern.kind)
def test_no_pattern_takes_long_on_a_long_line(pattern: Any) -> None:
    for unit in (
        "A",
        "sk-",
        "-sk-",
        "eyJ.",
        "-eyJ",
        "http://a:",
        "-----BEGIN PRIVATE KEY-----",
        "A_TOKEN=",
        "Bearer a",
        "ghp_aaaa",
        "curl -u a:",
        "curl ",
        "password: a",
        "password=a1",
        "-----BEGIN PRIVATE KEY-----\n" + "A" * 64 + "\n",
        "A" * 64 + "\n",
        "agc_aaaa",
        "Cookie: a=",
        "Cookie: a=b; ",
        '\\"password\\": \\"a1',
        "token=a1",
        "?a_token=",
        "?" + "a_" * 22,
    ):
        # A pattern that looks back over what it has seen would need minutes for it.
        assert isinstance(pattern.regex.sub("", unit * (200_000 // len(unit))), str)


@pytest.mark.skipif(not STREAMS.is_dir(), reason="the real Codex streams are not here")
def test_real_streams_lose_nothing_but_credentials() -> None:
    redactor = Redactor()
    kinds: list[str] = []
    for path in sorted(STREAMS.glob("*.jsonl")):
        found: set[str] = set()
        redactor.text(path.read_text(encoding="utf-8", errors="replace"), found)
        kinds += found
    # They show examples of `Authorization: Bearer …`, and nothing else that looks like a credential.
    assert set(kinds) <= {"bearer-token"}
