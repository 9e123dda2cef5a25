#!/usr/bin/env bash
# Feeds every target for SECONDS each (60), with nightly Rust and cargo-fuzz, which is fetched from crates.io where it is missing.
# What breaks lies in fuzz/artifacts afterwards, and the command to play it again is printed.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

seconds=${SECONDS_EACH:-60}
rustup toolchain list | grep -q '^nightly' || rustup toolchain install nightly --profile minimal
cargo fuzz --version >/dev/null 2>&1 || cargo install cargo-fuzz --locked

for target in $(cargo +nightly fuzz list --fuzz-dir .); do
    printf '== %s for %s s\n' "$target" "$seconds"
    mkdir -p "corpus/$target" "seeds/$target"
    cargo +nightly fuzz run --fuzz-dir . "$target" "corpus/$target" "seeds/$target" -- \
        -max_total_time="$seconds" -max_len=8192 -timeout=10 -rss_limit_mb=2048 -print_final_stats=1
done
