# Sourced by the scripts of this folder: where things are kept, and one way to print a stage's time.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
repository=$(dirname "$here")
cache=${MILLRACE_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/millrace}
mkdir -p "$cache"
# Everything of one run: the machines' folders, process ids, logs. There is one run at a time on a machine.
run_dir=$cache/e2e-run

# stage NAME COMMAND... : runs the command and prints how long it took.
stage() {
  local name=$1 start code=0; shift
  start=$(date +%s%N)
  "$@" || code=$?
  local ms=$(( ($(date +%s%N) - start) / 1000000 ))
  printf -- '-- %s: %s after %d.%d s\n' "$name" "$([ $code = 0 ] && echo done || echo "FAILED ($code)")" $((ms / 1000)) $((ms % 1000 / 100)) >&2
  return $code
}

# need_disk FOLDER MIB PURPOSE : ends with one line if there is less room. A full disk shows late and far away: as evicted
# pods, archives cut short, brokers that leave.
need_disk() {
  local room; room=$(df --output=avail -BM "$1" | tail -n 1 | tr -dc 0-9)
  [ "$room" -ge "$2" ] || one_line "the disk of $1 has $room MiB left and $3 needs $2: remove what you do not need (old target folders, $cache/images), or set MILLRACE_CACHE to a folder on a larger disk."
}

# one_line MESSAGE : the reason why it cannot go on.
one_line() { echo "$*" >&2; exit 1; }

# hash_of FILE... : one short name for the content of files and of what is said on standard input.
hash_of() { { cat "$@"; cat; } | sha256sum | cut -c1-16; }
