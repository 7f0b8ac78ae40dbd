#!/bin/sh
# Configures @NAME@ for the gateway at @URL@:
#
#   curl -fsSL @URL@/setup/@TOOL@.sh | sh
#
# The client key is read from TOLLFREE_CLIENT_KEY or from the terminal, and sent in a header only. This script holds no secret.
# Files of yours are copied to NAME.before-tollfree before they are changed. The program `tollfree setup @TOOL@` does the same and can undo it.
set -eu

url='@URL@'
tool='@TOOL@'
name='@NAME@'
program='@PROGRAM@'

fail() {
  printf 'tollfree: %s\n' "$1" >&2
  exit 1
}

has_terminal() {
  (: </dev/tty) 2>/dev/null
}

read_key() {
  key=${TOLLFREE_CLIENT_KEY:-}
  if [ -z "$key" ]; then
    has_terminal || fail 'there is no terminal to read the client key from: set TOLLFREE_CLIENT_KEY'
    terminal=$(stty -g </dev/tty)
    stty -echo </dev/tty
    printf 'Client key for %s: ' "$url" >/dev/tty
    IFS= read -r key </dev/tty || :
    restore_terminal
    printf '\n' >/dev/tty
  fi
  # Any text is a key at a gateway that requires none.
  key=${key:-open}
  case $key in
  *[!A-Za-z0-9._-]*) fail 'this is no client key: it has other characters than letters, digits, - . and _' ;;
  esac
}

restore_terminal() {
  if [ -n "$terminal" ]; then
    stty "$terminal" </dev/tty
    terminal=
  fi
}

clean_up() {
  restore_terminal
  rm -rf "$work"
}

# Sends what the gateway needs to know: post OUTPUT [more options of curl]. The key goes through a pipe, because others can see
# arguments.
post() {
  answer=$1
  shift
  status=$(
    printf 'header = "authorization: Bearer %s"\n' "$key" |
      curl -sS -K - -o "$answer" -w '%{http_code}' \
        --data-urlencode "os=$(uname -s)" \
        --data-urlencode "HOME=$HOME" \
        --data-urlencode "environment@$work/environment" \
        "$@" "$url/setup/$tool/files"
  ) || fail "the gateway at $url cannot be reached"
  if [ "$status" != 200 ]; then
    message=$(sed -n 's/.*"message":"\(\([^"\\]\|\\.\)*\)".*/\1/p' "$answer" 2>/dev/null | sed 's/\\\(.\)/\1/g' || :)
    fail "${message:-the gateway answers $status}"
  fi
}

decode() {
  printf '%s' "$1" | base64 -d
}

# Shows the paths of the files whose numbers are in $1.
show_paths() {
  while read -r number; do
    printf '  %s\n' "$(cat "$work/path.$number")"
  done <"$1"
}

# Whether the person allows that settings leave this machine, and that files are replaced.
is_allowed() {
  case ${TOLLFREE_SETUP_SEND:-} in
  yes) return 0 ;;
  no) return 1 ;;
  esac
  has_terminal || return 1
  {
    if [ -s "$work/merge" ]; then
      printf '\nThese files have settings already:\n\n'
      show_paths "$work/merge"
      printf '\nTo be merged they are sent to the gateway at %s, which stores nothing. They may hold keys of yours.\n' "$url"
    fi
    if [ -s "$work/replace" ]; then
      printf '\nThese files are replaced; a copy stays beside each:\n\n'
      show_paths "$work/replace"
    fi
    printf '\nGo on? [y/N] '
  } >/dev/tty
  IFS= read -r reply </dev/tty || reply=
  case $reply in
  y | Y | yes) return 0 ;;
  esac
  return 1
}

# Reads the answer: a line per file with its mode, its kind, its path and its text, the last two in Base64.
plan() {
  post "$work/plan" "$@"
  count=0
  while read -r mode kind path text; do
    printf '%s' "$mode" >"$work/mode.$count"
    printf '%s' "$kind" >"$work/kind.$count"
    decode "$path" >"$work/path.$count"
    decode "$text" >"$work/text.$count"
    count=$((count + 1))
  done <"$work/plan"
}

# Calls $1 for each file with its number and path.
for_each() {
  number=0
  while [ "$number" -lt "$count" ]; do
    "$1" "$number" "$(cat "$work/path.$number")"
    number=$((number + 1))
  done
}

# Lists what the person has to allow.
needs_consent() {
  if [ -s "$2" ] && ! cmp -s "$2" "$work/text.$1"; then
    case $(cat "$work/kind.$1") in
    edit) printf '%s\n' "$1" >>"$work/merge" ;;
    whole) printf '%s\n' "$1" >>"$work/replace" ;;
    esac
  fi
}

write() {
  if [ -e "$2" ] && cmp -s "$2" "$work/text.$1"; then
    printf '  unchanged  %s\n' "$2"
    return 0
  fi
  mkdir -p "$(dirname "$2")"
  if [ -e "$2" ]; then
    if [ "$(cat "$work/kind.$1")" != own ] && ! [ -e "$2.before-tollfree" ]; then
      cp -p "$2" "$2.before-tollfree"
    fi
    if [ "$(cat "$work/mode.$1")" = 600 ]; then
      chmod 600 "$2"
    fi
    # In place: permissions and links stay.
    cat "$work/text.$1" >"$2"
    printf '  changed    %s\n' "$2"
  else
    cat "$work/text.$1" >"$2"
    printf '  new        %s\n' "$2"
  fi
}

main() {
  for needed in curl base64 cmp mktemp; do
    command -v "$needed" >/dev/null 2>&1 || fail "this script needs $needed"
  done
  umask 077
  terminal=
  work=$(mktemp -d)
  trap clean_up EXIT
  trap 'exit 1' HUP INT TERM
  # Where the tools of this person have their files, if not in the usual place.
  env | grep -E '^(@VARIABLES@)=' >"$work/environment" || :
  read_key
  plan
  : >"$work/merge"
  : >"$work/replace"
  for_each needs_consent
  if [ -s "$work/merge" ] || [ -s "$work/replace" ]; then
    is_allowed || fail "nothing was changed. \`tollfree setup $tool\` merges on this machine; $url/setup shows the settings"
  fi
  if [ -s "$work/merge" ]; then
    set --
    while read -r number; do
      set -- "$@" --data-urlencode "text$number@$(cat "$work/path.$number")"
    done <"$work/merge"
    plan "$@"
  fi
  for_each write
  printf '\n%s now uses %s. Start it: %s\n' "$name" "$url" "$program"
}

main
