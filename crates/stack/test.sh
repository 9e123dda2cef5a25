#!/usr/bin/env bash
# Runs all tests on MariaDB, then those that touch the database on MySQL, after each a part of the chaos campaign, and closes
# on one line with the counts of both:
#
#   N passed, N failed, N skipped
#
#   crates/stack/test.sh CARGO PROFILE FOLDER_OF_PROGRAMS
#
# Fails when a test failed, when a run did (a test binary that dies prints no counts), when a run had no tests, or no
# database, or when a round of the campaign failed. Every test binary says in a line of its own which server it got; that it is of the kind, a test sees.
set -uo pipefail

cargo=$1 profile=$2 programs=$3
# Seconds after which the campaign begins no further round: about ten minutes in all.
campaign_on_mariadb=${CHAOS_MARIADB_S:-360} campaign_on_mysql=${CHAOS_MYSQL_S:-180}
# Another one for every commit, the same one for the same commit.
commit=$(git rev-parse --short=6 HEAD 2>/dev/null || echo 1)
seed=$((16#$commit))
# Full disks need root, and say so where it is missing.
without=
[ "$(id -u)" -eq 0 ] || without=redis-disk-full,database-disk-full
# The servers and their rights, all SQL, the accounts of the containers, the whole system. The others are the same on any.
on_mysql=(--test it --test table --test drift --test system)

# Tests wait for servers more than they work.
export RUST_TEST_THREADS=${RUST_TEST_THREADS:-$(($(nproc) + 2))}

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

# campaign KIND SECONDS SEED: rounds of chaos on this kind of database; a round that fails says how to play it again.
campaign() {
    local kind=$1 started=$SECONDS
    printf '\n== chaos on %s: seeds from %d%s\n' "$kind" "$3" "${without:+, no root: without $without}"
    STACK_DB=$kind "$programs/chaos" --rounds=1000 --within="$2" --seed="$3" --without="$without" 2>&1 |
        tee "$output/chaos-$kind.log"
    local status=${PIPESTATUS[0]}
    printf '== chaos on %s: took %d s\n' "$kind" $((SECONDS - started))
    [ "$status" -eq 0 ] || fault "the campaign on $kind failed (exit $status)"
}

run mariadb
campaign mariadb "$campaign_on_mariadb" "$seed"
run mysql "${on_mysql[@]}"
campaign mysql "$campaign_on_mysql" $((seed + 1000))

printf '\n'
for kind in mariadb mysql; do
    sed -n "s/^test \(.*\) \.\.\. FAILED$/   failed on $kind: \1/p" "$output/$kind"
    [ -n "$(servers $kind)" ] || fault "no test had a database of $kind"
    printf 'on %s %s: %s\n' "$kind" "$(servers $kind | paste -sd ' ')" "$(counts "$output/$kind")"
done
printf 'tests took %d s\n' "$SECONDS"
counts "$output"/{mariadb,mysql}
[ -n "$all_well" ]
