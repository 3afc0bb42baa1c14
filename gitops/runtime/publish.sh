#!/bin/sh
# Publishes one message of an agent with the nats CLI alone, for images that hold no Python.
# Needs a POSIX shell, od, awk, date and `nats` (0.2 or newer). Nothing is kept: where NATS is away it fails,
# so follow a run with `agent-comms publish` and use this for a word in between.
set -eu

usage() {
    cat <<'USAGE'
usage: publish.sh [OPTION]... [TEXT]

Publishes TEXT, or what comes on stdin where there is none, and waits until the stream has stored it.

  --general            speak in the general channel instead of the run's
  --kind KIND          message (the default), tool_call, tool_result, status, error, or any other
  --agent AGENT        who speaks; by default AGENT_ID
  --role ROLE          system, user, assistant or tool; by default the kind decides
  --message-id ID      the message's identity; by default a new one
  --tool-json JSON     {name, input, output, status, exit_code, duration_ms}
  --attrs-json JSON    whatever else there is to say, an object

Of the environment: WORKFLOW_NAME or WORKFLOW_UID (one is needed), WORKFLOW_NAMESPACE, WORKFLOW_STAGE,
WORKFLOW_STEP, RUN_ID, AGENT_ID, AGENT_ROLE, AGENT_RUNTIME; NATS_URL, NATS_CREDS_FILE or NATS_CREDS (content) or
NATS_NKEY_SEED_FILE or NATS_USER and NATS_PASSWORD, NATS_CA_FILE, NATS_CERT_FILE, NATS_KEY_FILE, NATS_INBOX_PREFIX,
NATS_SUBJECT_PREFIX. NATS_PUB_FLAGS replaces --jetstream, which older versions of the CLI lack.
USAGE
}

fail() {
    printf 'publish.sh: %s\n' "$1" >&2
    exit 2
}

# stdin as a JSON string. Only ASCII comes out, whatever goes in; and no two braces beside each other, which
# the nats CLI would take for a template.
json_string() {
    od -An -v -tx1 | LC_ALL=C awk '
        BEGIN {
            ascii = " !\"#$%&'\''()*+,-./0123456789:;<=>?@ABCDEFGHIJKLMNOPQRSTUVWXYZ[\\]^_`abcdefghijklmnopqrstuvwxyz{|}~"
            digits = "0123456789abcdef"
            for (i = 0; i < 256; i++)
                value[substr(digits, int(i / 16) + 1, 1) substr(digits, i % 16 + 1, 1)] = i
            printf "\""
        }
        { for (field = 1; field <= NF; field++) byte(value[$field]) }
        END {
            if (wanted) unit(65533)
            printf "\""
        }
        function byte(b) {
            if (wanted && b >= low && b <= high) {
                code = code * 64 + b - 128
                low = 128
                high = 191
                if (--wanted == 0) character(code)
                return
            }
            if (wanted) {
                wanted = 0
                unit(65533)
            }
            low = 128
            high = 191
            if (b < 128) character(b)
            else if (b >= 194 && b <= 223) begin(b - 192, 1)
            else if (b >= 224 && b <= 239) {
                begin(b - 224, 2)
                if (b == 224) low = 160
                if (b == 237) high = 159
            } else if (b >= 240 && b <= 244) {
                begin(b - 240, 3)
                if (b == 240) low = 144
                if (b == 244) high = 143
            } else unit(65533)
        }
        function begin(first, more) {
            code = first
            wanted = more
        }
        function character(c) {
            if (c == 34 || c == 92) printf "\\%s", substr(ascii, c - 31, 1)
            else if (c >= 32 && c < 127 && c != 123) printf "%s", substr(ascii, c - 31, 1)
            else if (c < 65536) unit(c)
            else {
                c -= 65536
                unit(55296 + int(c / 1024))
                unit(56320 + c % 1024)
            }
        }
        function unit(c) { printf "\\u%04x", c }
    '
}

# A value as one token of a subject: what is not A-Z a-z 0-9 _ - is percent-encoded, nothing is "-".
token() {
    case $1 in
        '') printf -- '-' ;;
        unknown) printf '%%75nknown' ;;
        -) printf '%%2D' ;;
        *)
            printf '%s' "$1" | od -An -v -tx1 | LC_ALL=C awk '
                BEGIN {
                    kept = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-"
                    codes = "4142434445464748494a4b4c4d4e4f505152535455565758595a6162636465666768696a6b6c6d6e6f70"
                    codes = codes "7172737475767778797a303132333435363738395f2d"
                    for (i = 1; i <= length(kept); i++) plain[substr(codes, 2 * i - 1, 2)] = substr(kept, i, 1)
                }
                { for (field = 1; field <= NF; field++) printf "%s", $field in plain ? plain[$field] : "%" toupper($field) }
            '
            ;;
    esac
}

# A field of the payload, left out where it is empty.
field() {
    [ -n "$2" ] || return 0
    printf ',"%s":' "$1"
    printf '%s' "$2" | json_string
}

# JSON as it was given, without what the nats CLI would take for a template.
object() {
    [ -n "$2" ] || return 0
    case $2 in
        \{*) ;;
        *) fail "--$1-json: it takes a JSON object" ;;
    esac
    printf ',"%s":%s' "$1" "$(printf '%s' "$2" | sed 's/{{/{\\u007b/g')"
}

# This moment; where the system's clock tells no more, to the second.
now() {
    case $(date +%N) in
        '' | *[!0-9]*) date -u +%Y-%m-%dT%H:%M:%SZ ;;
        *) date -u +%Y-%m-%dT%H:%M:%S.%NZ ;;
    esac
}

random() {
    od -An -v -N16 -tx1 /dev/urandom | tr -d ' \n'
}

general=
kind=message
agent=${AGENT_ID:-agent}
role=${AGENT_ROLE:-}
message_id=
tool=
attrs=
while [ $# -gt 0 ]; do
    case $1 in
        --general) general=yes ;;
        --kind | --agent | --role | --message-id | --tool-json | --attrs-json)
            [ $# -gt 1 ] || fail "$1: it takes a value"
            case $1 in
                --kind) kind=$2 ;;
                --agent) agent=$2 ;;
                --role) role=$2 ;;
                --message-id) message_id=$2 ;;
                --tool-json) tool=$2 ;;
                --attrs-json) attrs=$2 ;;
            esac
            shift
            ;;
        -h | --help)
            usage
            exit
            ;;
        --)
            shift
            break
            ;;
        -?*) fail "$1: there is no such option" ;;
        *) break ;;
    esac
    shift
done
[ $# -le 1 ] || fail "it takes one TEXT; put it in quotes"

name=${WORKFLOW_NAME:-${WORKFLOW_UID:-}}
uid=${WORKFLOW_UID:-${WORKFLOW_NAME:-}}
namespace=${WORKFLOW_NAMESPACE:-agents}
[ -n "$uid" ] || fail "WORKFLOW_UID or WORKFLOW_NAME: a publisher needs one of them to say which workflow speaks"
[ "$namespace" != general ] || fail "WORKFLOW_NAMESPACE: general is the shared room's name in subjects and no namespace"
[ "$agent" != person ] || fail "--agent: person is kept for what people say in the pages"
[ -n "$kind" ] || fail "--kind: it takes a word"
case $kind in
    tool_call | tool_result) role=${role:-tool} ;;
    status | error) role=${role:-system} ;;
    *) role=${role:-assistant} ;;
esac
case $role in
    system | user | assistant | tool) ;;
    *) fail "--role: it takes system, user, assistant or tool, but got '$role'" ;;
esac
message_id=${message_id:-$(random)}
prefix=${NATS_SUBJECT_PREFIX:-workflow}
channel=run
subject=$prefix.$(token "$namespace").$(token "$name").$(token "$uid").agent.$(token "$agent").$(token "$kind")
if [ -n "$general" ]; then
    channel=general
    subject=$prefix.general.$(token "$kind")
fi

payload() {
    printf '{"message_id":'
    printf '%s' "$message_id" | json_string
    field workflow_uid "$uid"
    field workflow_name "$name"
    field workflow_namespace "$namespace"
    field agent_id "$agent"
    field kind "$kind"
    field timestamp "$(now)"
    field channel "$channel"
    field role "$role"
    field run_id "${RUN_ID:-}"
    field step_id "${WORKFLOW_STEP:-}"
    field stage "${WORKFLOW_STAGE:-}"
    field runtime "${AGENT_RUNTIME:-}"
    printf ',"content":'
    if [ $# -gt 0 ]; then printf '%s' "$1" | json_string; else json_string; fi
    object tool "$tool"
    object attrs "$attrs"
    printf '}'
}

# What we call NATS_CREDS is the file's content, what the CLI calls so is its name.
creds=${NATS_CREDS_FILE:-}
if [ -z "$creds" ] && [ -n "${NATS_CREDS:-}" ]; then
    umask 077
    creds=$(mktemp)
    trap 'rm -f "$creds"' EXIT HUP INT TERM
    printf '%s\n' "$NATS_CREDS" >"$creds"
fi
unset NATS_CREDS
said=$(payload "$@")
# The CLI reads NATS_URL, NATS_USER and NATS_PASSWORD itself, so that no secret is an argument.
# The header is made up anew each time: the server compares it over the whole stream, and nobody must guess it.
set -- --force-stdin --header "Nats-Msg-Id:$(random)" "$subject"
# shellcheck disable=SC2086 # several flags, or none
set -- pub ${NATS_PUB_FLAGS---jetstream} "$@"
[ -z "$creds" ] || set -- --creds "$creds" "$@"
[ -z "${NATS_NKEY_SEED_FILE:-}" ] || set -- --nkey "$NATS_NKEY_SEED_FILE" "$@"
[ -z "${NATS_CA_FILE:-}" ] || set -- --tlsca "$NATS_CA_FILE" "$@"
[ -z "${NATS_CERT_FILE:-}" ] || set -- --tlscert "$NATS_CERT_FILE" "$@"
[ -z "${NATS_KEY_FILE:-}" ] || set -- --tlskey "$NATS_KEY_FILE" "$@"
[ -z "${NATS_INBOX_PREFIX:-}" ] || set -- --inbox-prefix "$NATS_INBOX_PREFIX" "$@"
printf '%s' "$said" | nats "$@"
