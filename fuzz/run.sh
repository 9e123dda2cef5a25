#!/usr/bin/env bash
# Feeds targets for SECONDS_EACH (60) each, with nightly Rust and cargo-fuzz, which are fetched where they are missing.
#
#   fuzz/run.sh                 every target; goes on after one that found something
#   fuzz/run.sh TARGET          one
#   fuzz/run.sh TARGET INPUT    an input again, such as one that broke the target
#
# What breaks lies in fuzz/artifacts afterwards, and the command that plays it again is printed.
set -euo pipefail
# Paths are the caller's, whatever this script's folder.
[ -z "${2:-}" ] || input=$(realpath -- "$2")
cd "$(dirname "${BASH_SOURCE[0]}")"

die() {
    printf 'fuzz: %s\n' "$*" >&2
    exit 2
}

command -v rustup >/dev/null || die 'nightly Rust comes by rustup, which is missing; to mend it: https://rustup.rs, then a new shell'
if ! rustup run nightly cargo --version >/dev/null 2>&1; then
    rustup toolchain install nightly --profile minimal ||
        die 'no nightly Rust; to mend it: rustup toolchain install nightly --profile minimal'
fi
if ! cargo fuzz --version >/dev/null 2>&1; then
    cargo install cargo-fuzz --locked || die 'no cargo-fuzz; to mend it: cargo install cargo-fuzz --locked'
fi
for tool in gcc g++ make pkg-config; do
    command -v "$tool" >/dev/null || die "$tool is missing; to mend it: make install"
done
pkg-config --exists openssl zlib || die 'the headers of OpenSSL or zlib are missing; to mend it: make install'

# The C libraries are built with the sanitizer, as the Rust code is; librdkafka's configure links one of them by hand and has to be told.
export LDFLAGS="${LDFLAGS:+$LDFLAGS }-fsanitize=address"
# Each target's program puts its seeds and its dictionary there when it starts.
export FUZZ_SEEDS=$PWD/planted

if [ -n "${2:-}" ]; then
    exec cargo +nightly fuzz run --fuzz-dir . "$1" "$input" -- -timeout=10 -rss_limit_mb=2048
fi

feed() {
    local target=$1
    rm -rf "planted/$target"
    mkdir -p "corpus/$target" "seeds/$target" "planted/$target"
    cargo +nightly fuzz run --fuzz-dir . "$target" "corpus/$target" "seeds/$target" "planted/$target" -- \
        -dict="planted/$target.dict" -max_total_time="${SECONDS_EACH:-60}" -max_len=8192 -timeout=10 -rss_limit_mb=2048 \
        -print_final_stats=1 2>&1 | tee "planted/$target.log"
}

# told TARGET: a line of what libFuzzer said.
told() {
    awk -v target="$1" '
        /INITED/ { for (i = 1; i < NF; i++) if ($i == "cov:") from = $(i + 1) }
        / cov: / { for (i = 1; i < NF; i++) { if ($i == "cov:") to = $(i + 1); if ($i == "ft:") features = $(i + 1); if ($i == "corp:") kept = $(i + 1) } }
        /^stat::number_of_executed_units/ { runs = $2 }
        /^stat::slowest_unit_time_sec/ { slowest = $2 }
        /^stat::peak_rss_mb/ { rss = $2 }
        END { printf "%-8s %9d runs, cov %d to %d, ft %d, inputs %s, slowest %d s, peak %d MB\n", target, runs, from, to, features, kept, slowest, rss }
    ' "planted/$1.log"
}

targets=${1:-$(cargo +nightly fuzz list --fuzz-dir .)}
cargo +nightly fuzz build --fuzz-dir . ${1:+"$1"}
mkdir -p planted
touch planted/began
broken=()
for target in $targets; do
    printf '== %s for %s s\n' "$target" "${SECONDS_EACH:-60}"
    feed "$target" || broken+=("$target")
done
printf '\n'
for target in $targets; do told "$target"; done
[ ${#broken[@]} -gt 0 ] || exit 0
printf '\nbroken: %s\n' "${broken[*]}" >&2
for target in "${broken[@]}"; do
    find "artifacts/$target" -type f -newer planted/began -printf "to play it again: fuzz/run.sh $target fuzz/%p\n" >&2 2>/dev/null
done
exit 1
