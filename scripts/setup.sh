#!/usr/bin/env bash
# Installs what the project needs and this machine lacks, saying what and why.
#
#     scripts/setup.sh [postgres] [openssl] [tshark] [oracles] [stand-in] [network] [systemd]
#                      [valgrind] [promtool] [pgbouncer] [yamcs] [cargo-deny] [cargo-fuzz] [tiers]
#
# What is there already is left alone, so it may be run any number of times. System packages are
# installed on Debian and Ubuntu only, with sudo unless run as root; everything else goes under
# target/. `tiers` installs nothing: it says which tests can run here.
set -euo pipefail

node_major_min=18
java_major_min=17
cargo_deny_version=0.20.2
cargo_fuzz_version=0.13.2

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
tools=$root/target/tools
oracles=$root/target/oracles
stand_in=$root/target/stand-in
yamcs=$root/target/yamcs

say() { printf 'setup: %s\n' "$*"; }
fail() { printf 'setup: %s\n' "$*" >&2; exit 1; }
have() { command -v "$1" >/dev/null 2>&1; }

as_root() {
    if [ "$(id -u)" -eq 0 ]; then
        "$@"
    elif have sudo; then
        sudo "$@"
    else
        fail "this needs root, and there is no sudo. As root, run: $*"
    fi
}

apt_is_current=no

# apt_install WHY PACKAGE...
apt_install() {
    local why=$1
    shift
    if ! have apt-get; then
        fail "missing: $* ($why). This script installs packages on Debian and Ubuntu only: please
install what your system calls these, or use \`docker compose up\`, which needs nothing but Docker."
    fi
    say "installing $* ($why)"
    if [ "$apt_is_current" = no ]; then
        as_root env DEBIAN_FRONTEND=noninteractive apt-get update -qq </dev/null
        apt_is_current=yes
    fi
    as_root env DEBIAN_FRONTEND=noninteractive \
        apt-get install -y -qq --no-install-recommends "$@" </dev/null >/dev/null
}

# The folder of the PostgreSQL server's programs, newest version first; fails if there is none.
postgres_bin() {
    local bin
    while IFS= read -r bin; do
        if [ -n "$bin" ] && [ -x "$bin/initdb" ] && [ -x "$bin/postgres" ]; then
            printf '%s\n' "$bin"
            return 0
        fi
    done < <(
        pg_config --bindir 2>/dev/null || true
        printf '%s\n' /usr/lib/postgresql/*/bin | sort -rV
        dirname "$(command -v initdb || printf /nowhere/initdb)"
    )
    return 1
}

setup_postgres() {
    if postgres_bin >/dev/null; then
        return
    fi
    local why='the demo and the tests run a private server of their own'
    if have apt-get && ! dpkg -s postgresql-common >/dev/null 2>&1; then
        # Debian starts a system-wide server as soon as the package is there, unless it is told not
        # to between these two steps.
        apt_install "it comes before the server" postgresql-common
        say "create_main_cluster = false in /etc/postgresql-common/createcluster.conf, so that no" \
            "system-wide server is created and started"
        as_root sed -i -E 's/^#?[[:space:]]*create_main_cluster.*/create_main_cluster = false/' \
            /etc/postgresql-common/createcluster.conf
    elif have apt-get; then
        say "postgresql-common is here already; its createcluster.conf decides whether a" \
            "system-wide server starts too (the demo and the tests do not use that one)"
    fi
    apt_install "$why" postgresql
    postgres_bin >/dev/null || fail 'the PostgreSQL server was installed, but initdb is not found'
}

setup_tshark() {
    have tshark || apt_install 'the tests let Wireshark read our traffic' tshark
}

setup_oracles() {
    local stamp=$oracles/requirements.sha256 wanted
    wanted=$(sha256sum <"$root/harness/oracles/requirements.txt")
    if [ -x "$oracles/bin/python" ] && [ "$(cat "$stamp" 2>/dev/null)" = "$wanted" ]; then
        return
    fi
    if ! have python3 || ! python3 -c 'import ensurepip, venv' 2>/dev/null; then
        apt_install 'outside judges of our packets are Python programs' python3 python3-venv
    fi
    python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
        fail "the oracles need Python 3.11 or newer, python3 is $(python3 --version)"
    say "installing the Python oracles into target/oracles (outside judges of our packets)"
    rm -rf "$oracles"
    python3 -m venv "$oracles"
    "$oracles/bin/python" -m pip install --quiet --disable-pip-version-check \
        --requirement "$root/harness/oracles/requirements.txt" </dev/null
    printf '%s\n' "$wanted" >"$stamp"
}

# Whether the extension is installed for the server that the tests start.
timescaledb_version() {
    local bin share
    bin=$(postgres_bin) || return 1
    share=$("$bin/pg_config" --sharedir 2>/dev/null) ||
        share=/usr/share/postgresql/$(basename "$(dirname "$bin")")
    sed -n "s/^default_version = '\(.*\)'/\1/p" "$share/extension/timescaledb.control" 2>/dev/null |
        grep .
}

have_node() {
    have node && have npm &&
        [ "$(node -p 'process.versions.node.split(".")[0]')" -ge "$node_major_min" ]
}

# A TimescaleDB for tests, where there may be none. Whatever goes wrong here, the other tests can
# run: `tiers` and the tests say that this one does not.
setup_stand_in() {
    local stamp=$stand_in/package-lock.json.sha256 wanted
    wanted=$(sha256sum <"$root/harness/stand-in/package-lock.json")
    if [ "$(cat "$stamp" 2>/dev/null)" = "$wanted" ] && have_node; then
        return
    fi
    if ! have_node; then
        if timescaledb_version >/dev/null; then
            say "no Node.js $node_major_min with npm: the stand-in for TimescaleDB is left out (the" \
                'extension itself is here)'
            return
        fi
        # In a shell of its own, which alone ends when this machine installs no packages.
        if ! (apt_install 'a stand-in for TimescaleDB runs in it' nodejs npm) || ! have_node; then
            say "no Node.js $node_major_min with npm is to be had: the stand-in for TimescaleDB cannot" \
                'run, and without TEST_DATABASE_URL no test meets the extension'
            return
        fi
    fi
    say 'installing a stand-in for TimescaleDB into target/stand-in (for tests)'
    rm -rf "$stand_in"
    mkdir -p "$stand_in"
    cp "$root"/harness/stand-in/package.json "$root"/harness/stand-in/package-lock.json "$stand_in"
    if npm ci --prefix "$stand_in" --ignore-scripts --no-audit --no-fund --silent </dev/null; then
        printf '%s\n' "$wanted" >"$stamp"
    else
        rm -rf "$stand_in"
        say 'the stand-in for TimescaleDB could not be installed: it is left out'
    fi
}

setup_network() {
    if [ "$(id -u)" -ne 0 ]; then
        say 'the tests over a network of their own need root: without it they say so and do nothing'
        return
    fi
    if ! have ip || ! have tc; then
        apt_install 'the stress tests make a network of their own' iproute2
    fi
    have nft || apt_install 'the stress tests lose packets on purpose' nftables
}

setup_openssl() {
    have openssl || apt_install 'the tests make certificates with it' openssl
}

# Only its tools are used: nothing of it runs here afterwards that did not run before.
setup_systemd() {
    have systemd-analyze || apt_install 'a test lets it read our unit' systemd
}

setup_valgrind() {
    have valgrind || apt_install 'a test counts the instructions of parsing' valgrind
}

find_promtool() {
    if have promtool; then command -v promtool; elif [ -x "$tools/promtool" ]; then echo "$tools/promtool"; fi
}

# As with the stand-in. The package would start a Prometheus, so it is unpacked instead of installed.
setup_promtool() {
    local folder
    [ -z "$(find_promtool)" ] || return 0
    say 'unpacking promtool from the package prometheus (19 MB; the tests check metrics and rules by it)'
    mkdir -p "$tools"
    folder=$(mktemp -d "$tools/promtool.XXXXXX")
    if (
        cd "$folder"
        apt-get download -qq prometheus </dev/null >/dev/null 2>&1 ||
            { as_root apt-get update -qq </dev/null && apt-get download -qq prometheus </dev/null >/dev/null; }
        dpkg-deb --fsys-tarfile prometheus_*.deb | tar --extract ./usr/bin/promtool
    ); then
        mv "$folder/usr/bin/promtool" "$tools/promtool"
    else
        say 'promtool is not to be had: the rules for Prometheus are not checked'
    fi
    rm -rf "$folder"
}

have_pgbouncer() { have pgbouncer || [ -x /usr/sbin/pgbouncer ]; }

# Whatever goes wrong here, the other tests can run: `tiers` and the test say that this one does not.
setup_pgbouncer() {
    local service=/etc/systemd/system/pgbouncer.service
    if have_pgbouncer; then
        return
    fi
    # Debian starts a pooler of its own as soon as the package is there, unless its service is masked.
    if [ -d /etc/systemd/system ] && [ ! -e "$service" ]; then
        say "$service is masked, so that no system-wide pooler is started (undo: systemctl unmask" \
            'pgbouncer)'
        (as_root ln -s /dev/null "$service") || return 0
    fi
    (apt_install 'a test puts this pooler before a database' pgbouncer) ||
        say 'pgbouncer could not be installed: the test behind a pooler says so and does nothing'
}

have_java() {
    local version
    version=$(java -version 2>&1 | sed -n 's/.*version "\([0-9]*\).*/\1/p') &&
        [ "${version:-0}" -ge "$java_major_min" ]
}

# As with the stand-in: without it the other tests can run, and `tiers` and its test say so.
setup_yamcs() {
    local stamp=$yamcs/requirements.sha256 wanted
    wanted=$(sha256sum <"$root/harness/yamcs/requirements.txt")
    if ! have_java; then
        if ! (apt_install 'Yamcs, which reads our packets in a test, runs in it' \
            default-jre-headless) || ! have_java; then
            say "no Java $java_major_min is to be had: the test with Yamcs cannot run"
            return
        fi
    fi
    if [ "$(cat "$stamp" 2>/dev/null)" = "$wanted" ]; then
        return
    fi
    setup_oracles
    say 'installing Yamcs into target/yamcs (50 MB; it reads our packets in a test)'
    rm -rf "$yamcs"
    if "$oracles/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps \
        --require-hashes --target "$yamcs" \
        --requirement "$root/harness/yamcs/requirements.txt" </dev/null; then
        printf '%s\n' "$wanted" >"$stamp"
    else
        rm -rf "$yamcs"
        say 'Yamcs could not be installed: it is left out'
    fi
}

# cargo_tool NAME VERSION WHY
cargo_tool() {
    local program=$tools/bin/$1
    if [ -x "$program" ] && "$program" --version 2>/dev/null | grep -qF " $2"; then
        return
    fi
    say "building $1 $2 into target/tools ($3); once, some minutes on two cores"
    cargo install --quiet --locked --root "$tools" "$1@$2" </dev/null
}

setup_cargo_deny() {
    cargo_tool cargo-deny "$cargo_deny_version" 'checks licences and sources of dependencies'
}

setup_cargo_fuzz() {
    cargo_tool cargo-fuzz "$cargo_fuzz_version" 'runs the fuzz targets'
}

# Whether tests can have a network of their own.
network_tier() {
    local name=orbitstream-tier-$$ program
    if [ "$(id -u)" -ne 0 ]; then
        printf 'needs root'
        return
    fi
    for program in ip tc nft; do
        if ! have "$program"; then
            printf 'no %s: scripts/setup.sh network' "$program"
            return
        fi
    done
    if ! ip netns add "$name" 2>/dev/null; then
        printf 'no network namespaces can be made here'
        return
    fi
    if tc -n "$name" qdisc add dev lo root netem 2>/dev/null; then
        printf 'namespaces, nftables, tbf, netem'
    else
        printf 'namespaces, nftables, tbf; this kernel has no netem'
    fi
    ip netns del "$name"
}

# Whether a tier is wanted: all are, unless ORBITSTREAM_TEST_TIERS names some.
is_wanted() {
    case ,$(printf '%s' "${ORBITSTREAM_TEST_TIERS:-$1}" | tr -d ' '), in
    *,"$1",*) return 0 ;;
    *) return 1 ;;
    esac
}

# show_tier NAME WHAT...
show_tier() { printf '  %-12s %s\n' "$1" "${*:2}"; }

# The databases that the tests run on.
show_databases() {
    local bin version
    if bin=$(postgres_bin); then
        show_tier plain "$("$bin/postgres" --version | cut -d ' ' -f 3), every test"
    else
        show_tier plain 'missing: scripts/setup.sh postgres'
    fi
    if ! is_wanted timescaledb; then
        show_tier timescaledb 'not run: ORBITSTREAM_TEST_TIERS leaves it out'
    elif version=$(timescaledb_version); then
        show_tier timescaledb "$version, the tests about tables once more, on hypertables"
    else
        show_tier timescaledb 'not run: the extension is not installed'
    fi
    if ! is_wanted server; then
        show_tier server 'not run: ORBITSTREAM_TEST_TIERS leaves it out'
    elif [ -n "${TEST_DATABASE_URL:-}" ]; then
        show_tier server 'TEST_DATABASE_URL, the tests about tables once more, on hypertables there'
    else
        show_tier server 'not run: TEST_DATABASE_URL is not set'
    fi
    if ! is_wanted stand-in; then
        show_tier stand-in 'not run: ORBITSTREAM_TEST_TIERS leaves it out'
    elif have_node && [ -e "$stand_in/package-lock.json.sha256" ]; then
        show_tier stand-in 'TimescaleDB in WebAssembly: schema, COPY, aggregates, policies and rights' \
            'only (one session at a time, no timers, no background jobs)'
    else
        show_tier stand-in 'not run: not installed (scripts/setup.sh stand-in)'
    fi
}

# Which tests can run on this machine, and what the others would need.
show_tiers() {
    say 'what the tests will find here:'
    show_databases
    if have tshark; then
        printf '  %-12s %s\n' tshark "$(tshark --version 2>/dev/null | head -n 1)"
    else
        printf '  %-12s %s\n' tshark 'missing: scripts/setup.sh tshark'
    fi
    printf '  %-12s %s\n' network "$(network_tier)"
    if have_pgbouncer; then
        show_tier pgbouncer "$(PATH=$PATH:/usr/sbin pgbouncer --version 2>/dev/null | head -n 1)"
    else
        show_tier pgbouncer 'not run: not installed (scripts/setup.sh pgbouncer)'
    fi
    if [ -x "$oracles/bin/python" ]; then
        printf '  %-12s %s\n' oracles "$("$oracles/bin/python" --version)"
    else
        printf '  %-12s %s\n' oracles 'missing: scripts/setup.sh oracles'
    fi
    if ! have_java || [ ! -e "$yamcs/requirements.sha256" ]; then
        show_tier yamcs 'not run: not installed (scripts/setup.sh yamcs)'
    else
        show_tier yamcs "$(sed -n 's/^fprime-yamcs-bundle==\([^ ]*\).*/\1/p' \
            "$root/harness/yamcs/requirements.txt"), with the XTCE document"
    fi
    if [ -n "$(find_promtool)" ]; then
        show_tier promtool "$("$(find_promtool)" --version 2>&1 | sed -n 's/^promtool, \(version [^ ]*\).*/\1/p')"
    else
        show_tier promtool 'not run: not installed (scripts/setup.sh promtool)'
    fi
}

[ $# -gt 0 ] || set -- postgres tshark oracles stand-in cargo-deny
for what in "$@"; do
    case $what in
    postgres) setup_postgres ;;
    openssl) setup_openssl ;;
    tshark) setup_tshark ;;
    oracles) setup_oracles ;;
    stand-in) setup_stand_in ;;
    network) setup_network ;;
    systemd) setup_systemd ;;
    valgrind) setup_valgrind ;;
    promtool) setup_promtool ;;
    pgbouncer) setup_pgbouncer ;;
    yamcs) setup_yamcs ;;
    cargo-deny) setup_cargo_deny ;;
    cargo-fuzz) setup_cargo_fuzz ;;
    tiers) show_tiers ;;
    *) fail "unknown: $what (known: postgres openssl tshark oracles stand-in network systemd valgrind promtool pgbouncer yamcs cargo-deny cargo-fuzz tiers)" ;;
    esac
done
