#!/usr/bin/env bash
# Makes the database and an account for each role, with the least rights. MySQL's image runs it once, on an empty data
# folder, before it takes connections from outside; where it fails, the container never becomes healthy. The rights are
# those of crates/stack/src/database/accounts.rs; a test runs this script on a real server and compares.
set -euo pipefail

# Passwords become parts of URLs and of SQL: only characters that mean nothing in either.
password_of() {
    local setting=$1
    local password=${!setting:-}
    if [[ ! $password =~ ^[A-Za-z0-9._~-]+$ ]]; then
        printf '%s in .env must be one or more of A-Z a-z 0-9 . _ ~ -\n' "$setting" >&2
        return 1
    fi
    printf '%s' "$password"
}

account() {
    local user=$1 rights=$2 password
    password=$(password_of "$3")
    printf "CREATE USER IF NOT EXISTS '%s'@'%%' IDENTIFIED BY '%s';\n" "$user" "$password"
    # In GRANT, a bare _ stands for any character.
    printf "GRANT %s ON \`write\\\\_behind\`.* TO '%s'@'%%';\n" "$rights" "$user"
}

sql=$(
    set -e
    echo 'CREATE DATABASE IF NOT EXISTS write_behind CHARACTER SET utf8mb4;'
    account migrate 'ALL PRIVILEGES' MIGRATE_DB_PASSWORD
    account persister 'SELECT, INSERT, UPDATE, DELETE' PERSISTER_DB_PASSWORD
    account ingest 'SELECT' INGEST_DB_PASSWORD
    account reader 'SELECT' READER_DB_PASSWORD
)
# The server of the image listens here while it is set up.
socket=${SOCKET:-/var/run/mysqld/mysqld.sock}
MYSQL_PWD=$MYSQL_ROOT_PASSWORD mysql --protocol=socket --socket="$socket" --user=root <<<"$sql"
