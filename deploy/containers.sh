#!/usr/bin/env bash
# The stack in containers, for `make up`, `make down` and `make clean`.
#
#   deploy/containers.sh chosen      what `make up` is to start: containers or processes. STACK says it; without it
#                                    processes that were started go on, else containers where an engine answers
#   deploy/containers.sh started     what `make down` and `make clean` are to stop
#   deploy/containers.sh settings    writes .env, with random passwords, where there is none
#   deploy/containers.sh up|down|clean
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
state=${STACK_DIR:-.stack}

die() {
    printf 'stack: %s\n' "$*" >&2
    exit 1
}

# A remote engine that is away must not hold `make up` of everybody else.
engine_answers() {
    command -v docker >/dev/null && timeout 10 docker info >/dev/null 2>&1 && docker compose version >/dev/null 2>&1
}

processes_were_started() {
    [ -n "$(ls -A "$state/run" 2>/dev/null)" ]
}

processes_left_something() {
    processes_were_started || [ -n "$(ls -A "$state/data" 2>/dev/null)" ]
}

chosen() {
    case ${STACK:-} in
    containers | processes) echo "$STACK" ;;
    '')
        # Which database is a question for processes only.
        if [ -n "${STACK_DB:-}" ] || processes_were_started || ! engine_answers; then
            echo processes
        else
            echo containers
        fi
        ;;
    *) die "STACK is containers or processes, not $STACK" ;;
    esac
}

started() {
    local ours=label=com.docker.compose.project=write-behind containers=
    if engine_answers; then
        containers=$(docker ps --all --quiet --filter "$ours" && docker volume ls --quiet --filter "$ours")
    fi
    [ -z "$containers" ] || echo containers
    if [ -z "$containers" ] || processes_left_something; then echo processes; fi
}

settings() {
    [ ! -e .env ] || return 0
    local fresh line
    fresh=$(mktemp .env.XXXXXX) # nobody else may read it
    while IFS= read -r line; do
        if [[ $line =~ ^[A-Z_]+=$ ]]; then line+=$(od -An -N16 -tx1 /dev/urandom | tr -d ' \n'); fi
        printf '%s\n' "$line"
    done <.env.example >"$fresh"
    mv "$fresh" .env
    echo '   .env is written, with new passwords'
}

# setting NAME DEFAULT: as compose finds it.
setting() {
    local written
    written=$(sed -n "s/^$1=//p" .env | tail -n 1)
    printf '%s' "${!1:-${written:-$2}}"
}

# Schemas are read once, at a start. Who reads the topic is to know a new one before it is written there.
read_new_schemas() {
    local service
    for service in persister ingest; do
        docker compose up --detach --wait --no-deps --force-recreate "$service"
    done
}

up() {
    engine_answers || die 'no container engine with compose answers: start it, or STACK=processes make up'
    ! processes_were_started || die 'the stack runs as processes: make down first'
    settings
    local schemas digest known running
    schemas=$(setting SCHEMAS_DIR ./schemas)
    SCHEMAS_OWNER=$(setting SCHEMAS_OWNER "$(stat -c %u:%g "$schemas")")
    export SCHEMAS_OWNER
    mkdir -p "$state"
    digest=$(find "$schemas" -name '*.avsc' -exec sha256sum {} + | sort | sha256sum)
    known=$(cat "$state/schemas.digest" 2>/dev/null || true)
    running=$(docker compose ps --quiet --status running persister ingest)
    docker compose up --detach --wait --build
    if [ -n "$running" ] && [ "$digest" != "$known" ]; then read_new_schemas; fi
    printf '%s\n' "$digest" >"$state/schemas.digest"
    write_env
    greet
}

# The addresses for programs, as the stack of processes writes them.
write_env() {
    local fresh
    fresh=$(mktemp "$state/env.XXXXXX")
    cat >"$fresh" <<ENV
INGEST_URL=http://127.0.0.1:$(setting INGEST_PORT 8080)
INGEST_ADMIN_URL=http://127.0.0.1:$(setting INGEST_ADMIN_PORT 9101)
PERSISTER_ADMIN_URL=http://127.0.0.1:$(setting PERSISTER_ADMIN_PORT 9102)
REDIS_URL=redis://write-behind:$(setting REDIS_PASSWORD '')@127.0.0.1:$(setting REDIS_PORT 16379)/0
KAFKA_BROKERS=127.0.0.1:$(setting KAFKA_PORT 19092)
DATABASE_URL=mysql://reader:$(setting READER_DB_PASSWORD '')@127.0.0.1:$(setting DB_PORT 13306)/write_behind
PROMETHEUS_URL=http://127.0.0.1:$(setting PROMETHEUS_PORT 9090)
ENV
    mv "$fresh" "$state/env"
}

greet() {
    local ingest
    ingest=http://127.0.0.1:$(setting INGEST_PORT 8080)
    cat <<GREETING

write-behind is up, in containers.

   ingest       $ingest   health and metrics: http://127.0.0.1:$(setting INGEST_ADMIN_PORT 9101)
   persister    http://127.0.0.1:$(setting PERSISTER_ADMIN_PORT 9102)   (health and metrics)
   Prometheus   http://127.0.0.1:$(setting PROMETHEUS_PORT 9090)
   Grafana      http://127.0.0.1:$(setting GRAFANA_PORT 3000)   (admin, GRAFANA_PASSWORD of .env)
   addresses    $state/env     logs: docker compose logs

Write a user:
   curl -s $ingest/write-behind -H 'content-type: application/json' \\
        -d '{"name":"John Doe","age":30,"occupation":"Engineer"}'
Find the row in the database:
   docker compose exec mysql sh -c 'MYSQL_PWD=\$READER_DB_PASSWORD mysql -u reader -h 127.0.0.1 write_behind -e "SELECT * FROM users_live"'
Stop:
   make down     (make clean forgets the data too)
GREETING
}

down() {
    settings # compose reads no file without its passwords
    docker compose --profile '*' down "$@"
}

clean() {
    down --volumes
    rm -f "$state/env" "$state/schemas.digest"
    echo '   the data of the containers is forgotten; .env and the images stay'
}

case ${1:-} in
chosen | started | settings | up | down | clean) "$1" ;;
*) die 'usage: deploy/containers.sh chosen|started|settings|up|down|clean' ;;
esac
