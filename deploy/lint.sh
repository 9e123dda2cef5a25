#!/usr/bin/env bash
# Checks docker-compose.yml and the Dockerfile as far as that goes without a container engine.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
tools=${STACK_TOOLS:-.stack/tools}

settings=$(mktemp)
trap 'rm -f "$settings"' EXIT
# Every password gets a value, so that only faults of the file itself are found.
sed 's/^\([A-Z_]*\)=$/\1=set/' .env.example >"$settings"
"$tools/docker-compose/docker-compose" --env-file "$settings" --profile '*' config --quiet
"$tools/hadolint/hadolint" deploy/Dockerfile
