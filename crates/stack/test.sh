#!/usr/bin/env bash
# Runs all tests on MariaDB, then those that touch the database on MySQL, and closes on one line with the counts of both:
#
#   N passed, N failed, N skipped
#
#   crates/stack/test.sh CARGO PROFILE
#
# Fails when a test failed, when a run did (a test binary that dies prints no counts), when a run had no tests, or no
# database. Every test binary says in a line of its own which server it got; that it is of the kind, a test sees.
set -uo pipefail

cargo=$1 profile=$2
# The servers and their rights, all SQL, the accounts of the containers, the whole system. The others are the same on any.
on_mysql=(--test it --test table --test drift --test system)

output=$(mktemp -d)
trap 'rm -rf "$output"' EXIT
all_well=yes
fault() {
    printf '%s\n' "$*"
    all_well=
}

# The sum of a count over the test binaries of a run, or of all.
total() {
    sed -n "s/^test result: .* \([0-9][0-9]*\) $1.*/\1/p" "${@:2}" | awk '{ n += $1 } END { print n + 0 }'
}
counts() { printf '%d passed, %d failed, %d skipped\n' "$(total passed "$@")" "$(total failed "$@")" "$(total ignored "$@")"; }
servers() { sed -n 's/.*database server: \(.*\)/\1/p' "$output/$1" | sort -u; }

# run KIND ARGUMENTS...: the tests that cargo is asked for, on this kind of database.
run() {
    local kind=$1 started=$SECONDS
    shift
    printf '\n== tests on %s: cargo test %s\n' "$kind" "$*"
    STACK_DB=$kind "$cargo" test --workspace --profile "$profile" --no-fail-fast "$@" 2>&1 | tee "$output/$kind"
    local status=${PIPESTATUS[0]}
    printf '== on %s: took %d s\n' "$kind" $((SECONDS - started))
    [ "$status" -eq 0 ] || fault "the tests on $kind failed (exit $status)"
    [ "$(total passed "$output/$kind")" -gt 0 ] || fault "no test ran on $kind"
}

run mariadb
run mysql "${on_mysql[@]}"

printf '\n'
for kind in mariadb mysql; do
    sed -n "s/^test \(.*\) \.\.\. FAILED$/   failed on $kind: \1/p" "$output/$kind"
    [ -n "$(servers $kind)" ] || fault "no test had a database of $kind"
    printf 'on %s %s: %s\n' "$kind" "$(servers $kind | paste -sd ' ')" "$(counts "$output/$kind")"
done
printf 'tests took %d s\n' "$SECONDS"
counts "$output"/*
[ -n "$all_well" ]
