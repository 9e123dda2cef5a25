#!/usr/bin/env bash
# Runs a `cargo test` command and closes on one line with the counts of all its test binaries:
#
#   N passed, N failed, N skipped
#
# Fails when a test failed, when the command did (a test binary that dies prints no counts), or when no test ran.
set -uo pipefail

output=$(mktemp)
trap 'rm -f "$output"' EXIT
started=$SECONDS

"$@" 2>&1 | tee "$output"
status=${PIPESTATUS[0]}

total() { sed -n "s/^test result: .* \([0-9][0-9]*\) $1.*/\1/p" "$output" | awk '{ n += $1 } END { print n + 0 }'; }
passed=$(total passed)
failed=$(total failed)
ignored=$(total ignored)

if [ "$failed" -gt 0 ]; then
    printf '\nfailed:\n'
    sed -n 's/^test \(.*\) \.\.\. FAILED$/   \1/p' "$output"
fi
[ "$status" -eq 0 ] || printf '\nthe test command failed (exit %s)\n' "$status"
printf '\ntests took %d s\n' $((SECONDS - started))
printf '%d passed, %d failed, %d skipped\n' "$passed" "$failed" "$ignored"
[ "$status" -eq 0 ] && [ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
