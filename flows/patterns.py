"""The shapes of credentials: those that everybody knows, and a company's own from a file."""

import re
import tomllib
from pathlib import Path

import msgspec
from msgspec import Struct


class PatternError(ValueError):
    """A pattern file is wrong; the text is one line that names the file and the entry."""


class Pattern(Struct, frozen=True):
    """The shape of one kind of credential.

    Attributes:
        kind: goes into the marker, the count and `attrs.redacted`.
        markers: substrings of which every match holds one; without, a text is searched no further.
        regex: what is replaced is its group `secret`, or all of it.
    """

    kind: str
    markers: tuple[str, ...]
    regex: re.Pattern[str]


def _pattern(kind: str, markers: str, regex: str) -> Pattern:
    return Pattern(kind, tuple(markers.split("|")), re.compile(regex))


# What stands for a line of a private key that came line by line (`flows.codex.pem`).
HIDDEN_KEY = "[redacted:private-key]"
# A token stands by itself: what runs on before or after it is another word.
_END = r"(?![A-Za-z0-9_])"
# Of a text, or of one within a JSON string that was printed.
_LINE_END = r"(?:\s|\\[nr]){1,4}"


def _begin(letter: str) -> str:
    """Return the beginning of a token; looking back before its first letter would have `re` stop everywhere.

    A dash is part of many tokens: were they to begin after one, a row of beginnings would be read again from each.
    """
    return rf"{letter}(?<![A-Za-z0-9_-]{letter})"


PATTERNS = (
    _pattern("aws-access-key", "AKIA|ASIA", rf"{_begin('A')}(?:KIA|SIA)[A-Z2-7]{{16}}{_END}"),
    _pattern("github-token", "ghp_|gho_|ghu_|ghs_|ghr_", rf"{_begin('g')}h[pousr]_[A-Za-z0-9]{{36,251}}{_END}"),
    _pattern("github-token", "github_pat_", rf"{_begin('g')}ithub_pat_[A-Za-z0-9_]{{22,255}}{_END}"),
    _pattern("gitlab-token", "glpat-|gldt-|glrt-", rf"{_begin('g')}l(?:pat|dt|rt)-[A-Za-z0-9_-]{{20,64}}{_END}"),
    _pattern("anthropic-key", "sk-ant-", rf"{_begin('s')}k-ant-[A-Za-z0-9_-]{{20,200}}{_END}"),
    _pattern(
        "openai-key",
        "sk-",
        rf"{_begin('s')}k-(?:proj-|svcacct-|admin-)?(?=[A-Za-z_-]{{0,64}}[0-9])[A-Za-z0-9_-]{{32,220}}{_END}",
    ),
    _pattern("google-key", "AIza", rf"{_begin('A')}Iza[A-Za-z0-9_-]{{35}}(?![A-Za-z0-9_-])"),
    _pattern("google-token", "ya29.", rf"{_begin('y')}a29\.[A-Za-z0-9_-]{{20,2048}}"),
    _pattern("slack-token", "xox", rf"{_begin('x')}ox[abeoprs]-[A-Za-z0-9-]{{10,250}}{_END}"),
    _pattern("slack-webhook", "hooks.slack.com/", r"hooks\.slack\.com/services/(?P<secret>[A-Za-z0-9/]{20,80})"),
    _pattern("stripe-key", "sk_|rk_", rf"{_begin('[sr]')}k_(?:live|test)_[A-Za-z0-9]{{16,120}}{_END}"),
    _pattern("huggingface-token", "hf_", rf"{_begin('h')}f_[A-Za-z0-9]{{30,60}}{_END}"),
    _pattern("npm-token", "npm_", rf"{_begin('n')}pm_[A-Za-z0-9]{{36}}{_END}"),
    _pattern("pypi-token", "pypi-Ag", rf"{_begin('p')}ypi-Ag[A-Za-z0-9_-]{{50,300}}{_END}"),
    _pattern("sendgrid-key", "SG.", rf"{_begin('S')}G\.[A-Za-z0-9_-]{{16,32}}\.[A-Za-z0-9_-]{{16,64}}"),
    _pattern("vault-token", "hvs.|hvb.", rf"{_begin('h')}v[sb]\.[A-Za-z0-9_-]{{24,300}}"),
    _pattern("digitalocean-token", "dop_v1_", rf"{_begin('d')}op_v1_[a-f0-9]{{64}}{_END}"),
    _pattern("age-key", "AGE-SECRET-KEY-1", rf"{_begin('A')}GE-SECRET-KEY-1[A-Z0-9]{{58}}{_END}"),
    _pattern("docker-token", "dckr_pat_", rf"{_begin('d')}ckr_pat_[A-Za-z0-9_-]{{20,40}}{_END}"),
    _pattern("agent-comms-token", "agc_", rf"{_begin('a')}gc_[A-Za-z0-9_-]{{40,64}}{_END}"),
    _pattern("azure-key", "Key=", r"(?:Account|SharedAccess)Key=(?P<secret>[A-Za-z0-9+/]{40,100}={0,2})"),
    _pattern("nats-seed", "SU|SA|SO|SC|SN", rf"{_begin('S')}[UAOCN][A-Z2-7]{{56}}{_END}"),
    _pattern(
        "jwt",
        "eyJ",
        rf"{_begin('e')}yJ[A-Za-z0-9_-]{{10,8192}}\.eyJ[A-Za-z0-9_-]{{10,65536}}\.[A-Za-z0-9_-]{{10,8192}}",
    ),
    _pattern(
        "private-key",
        "PRIVATE KEY-----",
        r"-----BEGIN (?P<name>[A-Z0-9 ]{0,40}PRIVATE KEY)-----"
        r"(?P<secret>(?:(?!-----)[\s\S]){16,32768})-----END (?P=name)-----",
    ),
    # One whose end is cut off; what is left of its last line tells nobody the key.
    _pattern(
        "private-key",
        "PRIVATE KEY-----",
        rf"-----BEGIN [A-Z0-9 ]{{0,40}}PRIVATE KEY-----{_LINE_END}"
        rf"(?:[A-Za-z-]{{1,20}}: [^\n]{{0,100}}{_LINE_END}){{0,4}}"
        rf"(?P<secret>[A-Za-z0-9+/]{{32,128}}={{0,2}}(?:{_LINE_END}[A-Za-z0-9+/]{{32,128}}={{0,2}}){{0,1000}}"
        rf"(?:{_LINE_END}[A-Za-z0-9+/=]{{1,128}}\Z)?)",
    ),
    # Hidden by whoever read it: it is counted here, and told in `attrs.redacted`, which is nobody else's to write.
    _pattern("private-key", HIDDEN_KEY, rf"\A{re.escape(HIDDEN_KEY)}\Z"),
    _pattern(
        "url-password",
        "://",
        # A scheme stands before; beginning with it would have `re` look at each word to its end.
        r":(?<=[a-zA-Z0-9+.-]{2}:)//[^\s/:@'\"<>\[]{0,256}:(?P<secret>[^\s/@'\"<>]{1,256})@[^\s/@]",
    ),
    _pattern(
        "bearer-token",
        "Bearer |bearer ",
        r"[Bb](?<![A-Za-z0-9_][Bb])earer (?P<secret>(?=[A-Za-z._~+/-]{0,64}[0-9])[A-Za-z0-9._~+/-]{16,8192}=*)",
    ),
    _pattern(
        "basic-auth",
        "uthorization: Basic |uthorization: basic ",
        r"[Aa]uthorization: [Bb]asic (?P<secret>[A-Za-z0-9+/]{4,4096}={0,2})",
    ),
    _pattern(
        "authorization",
        "uthorization: ",
        r"[Aa]uthorization: (?:[Tt]oken|[Aa]pi[Kk]ey) (?P<secret>[A-Za-z0-9._~+/-]{8,8192}=*)",
    ),
    _pattern("api-key", "pi-Key: |pi-key: |PI-KEY: ", r"[Xx]-(?i:api-key): (?P<secret>[A-Za-z0-9._~+/-]{8,512}=*)"),
    # A header and all its pairs, as far as they are ones: what follows a comma or a space is a date or a word.
    _pattern(
        "cookie",
        "ookie: |OOKIE: ",
        r"(?:[Cc]ookie|COOKIE): (?P<secret>[^\s=;,'\"\\]{1,128}=(?:\"[^\s;,'\"\\]{1,4096}\"|[^\s;,'\"\\]{1,4096})"
        r"(?:; ?[^\s=;,'\"\\]{1,128}(?:=(?:\"[^\s;,'\"\\]{1,4096}\"|[^\s;,'\"\\]{0,4096}))?){0,64})",
    ),
    _pattern(
        "aws-secret-key",
        "aws_secret_access_key",
        r"aws_secret_access_key[ '\":=]{1,6}(?P<secret>[A-Za-z0-9/+]{40})(?![\w/+])",
    ),
    _pattern(
        "option",
        "--password|--passwd|--token|--secret|--api-key|--access-key",
        r"--(?:password|passwd|token|secret|api-key|access-key)[= ]"
        r"(?P<quote>['\"]?)(?P<secret>(?=[A-Za-z_/+.-]{0,64}[0-9])[A-Za-z0-9_/+.~!@#%^&*-]{6,512}=*)(?P=quote)",
    ),
    # A number, as in `docker run -u 1000:1000`, is no password, and a variable holds it elsewhere.
    _pattern(
        "option",
        "curl ",
        r"(?a:\b)curl [^\n|;&]{0,512}?(?<= )(?:-u|--user)[= ]?(?P<quote>['\"]?)[^\s:'\"]{1,128}:"
        r"(?P<secret>[^\s$'\"][^\s'\"]{0,255})",
    ),
    # JSON within a text: a configuration that was printed, say; its quotes are escaped where it is JSON within JSON.
    _pattern(
        "named",
        "password|passwd|secret|token|api_key|apiKey|access_key|private_key",
        r"['\"][\w.-]{0,40}?(?:password|passwd|secret|token|api_key|apiKey|access_key|private_key)"
        r"\\{0,7}['\"]\s{0,8}:\s{0,8}(?P<quote>\\{0,7}['\"])(?P<secret>(?=[^'\"\s]{0,64}[0-9])[^'\"\s]{8,512})(?P=quote)",
    ),
    _pattern(
        "environment-secret",
        "PASSWORD=|PASSWD=|SECRET=|TOKEN=|API_KEY=|ACCESS_KEY=|PRIVATE_KEY=",
        r"(?a:\b)(?:[A-Z][A-Z0-9_]{0,60}?)?(?:PASSWORD|PASSWD|SECRET|TOKEN|API_KEY|ACCESS_KEY|PRIVATE_KEY)="
        r"(?P<quote>['\"]?)(?P<secret>(?=[A-Za-z_/+.-]{0,64}[0-9])[A-Za-z0-9_/+.~!@#%^&*-]{8,512}=*)(?P=quote)",
    ),
    # In YAML, a connection string, an address; not where a program names its variable or calls something.
    _pattern(
        "named",
        "assword: |assword=|asswd: |asswd=|assphrase: |assphrase=|ASSWORD: |pi_key: |pi_key=|pikey: |pikey=|piKey: "
        "|piKey=|PI_KEY: |pi-key=|ccess_key: |ccess_key=|ccess-key: |ccess-key=|ccessKey: |ccessKey=|CCESS_KEY: "
        "|ccess_token: |ccess_token=|ccessToken: |ccessToken=|CCESS_TOKEN: |uth_token: |uth_token="
        "|uthToken: |uthToken=|UTH_TOKEN: |lient_secret: |lient_secret=|lientSecret: |lientSecret=|LIENT_SECRET: ",
        # Each in the cases that are written, without `(?i)`, for which `re` has no quick search.
        r"[pPaAcC](?:assword|asswd|assphrase|ASSWORD|pi[_-]?[kK]ey|PI_KEY|ccess[_-]?[kK]ey|CCESS_KEY"
        r"|ccess_?[tT]oken|CCESS_TOKEN|uth_?[tT]oken|UTH_TOKEN|lient_?[sS]ecret|LIENT_SECRET)"
        r"(?:: {1,4}|=)(?P<quote>['\"]?)(?![A-Za-z_]\w{0,64}\.[A-Za-z_])"
        r"(?P<secret>(?=[A-Za-z_/+.~!@#%^&*-]{0,64}[0-9])(?=[0-9_/+.~!@#%^*-]{0,64}[A-Za-z])[A-Za-z0-9_/+.~!@#%^*-]{8,512}=*)"
        r"(?P=quote)(?=[\s'\",;&)}\]<]|$)",
    ),
    # In an address any; elsewhere what is neither a variable nor a call.
    _pattern(
        "named",
        "oken=",
        r"[?&](?:[\w.-]{0,40}?[_.-])?[tT]oken=(?![A-Z_]{1,64}(?![A-Za-z0-9]))(?P<secret>[A-Za-z0-9_/+.~%-]{8,4096}=*)",
    ),
    _pattern(
        "named",
        "oken=",
        r"[tT]oken=(?P<quote>['\"]?)(?![A-Za-z_]\w{0,64}\.[A-Za-z_])(?![a-z]{1,20}(?:_[a-z0-9]{1,20}){1,6}(?!\w))"
        r"(?P<secret>(?=[A-Za-z_/+.~%-]{0,64}[0-9])(?=[0-9_/+.~%-]{0,64}[A-Za-z])[A-Za-z0-9_/+.~%-]{8,4096}=*)"
        r"(?P=quote)(?=[\s'\",;&#)}\]<]|$)",
    ),
)


class _Entry(Struct, frozen=True, forbid_unknown_fields=True):
    kind: str
    regex: str


def load_patterns(path: Path | None) -> list[Pattern]:
    """Read a TOML file of `[[pattern]]` tables, each with `kind` and `regex`; no file, no patterns.

    Raises:
        PatternError: it can't be read, or an entry is wrong.
    """
    if path is None:
        return []
    try:
        entries = msgspec.convert(tomllib.loads(path.read_text(encoding="utf-8")).get("pattern", []), list[_Entry])
    except OSError as error:
        message = f"{path}: {error.strerror}"
        raise PatternError(message) from error
    except (tomllib.TOMLDecodeError, msgspec.ValidationError, UnicodeDecodeError) as error:
        message = f"{path}: {' '.join(str(error).split())}"
        raise PatternError(message) from error
    patterns = []
    for entry in entries:
        try:
            patterns.append(Pattern(entry.kind, (), re.compile(entry.regex)))
        except re.error as error:
            message = f"{path}: pattern `{entry.kind}`: {error}"
            raise PatternError(message) from error
    return patterns
