#!/usr/bin/env bash
# Installs what the project needs and this machine lacks, saying what and why.
#
#     scripts/setup.sh [postgres] [tshark] [oracles] [network] [cargo-deny] [cargo-fuzz] [tiers]
#
# What is there already is left alone, so it may be run any number of times. System packages are
# installed on Debian and Ubuntu only, with sudo unless run as root; everything else goes under
# target/. `tiers` installs nothing: it says which tests can run here.
set -euo pipefail

cargo_deny_version=0.20.2
cargo_fuzz_version=0.13.2

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
tools=$root/target/tools
oracles=$root/target/oracles

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

# Which tests can run on this machine, and what the others would need.
show_tiers() {
    local bin share
    say 'what the tests will find here:'
    if bin=$(postgres_bin); then
        printf '  %-12s %s\n' postgresql "$("$bin/postgres" --version)"
        share=$("$bin/pg_config" --sharedir 2>/dev/null || true)
        if [ -n "$share" ] && [ -f "$share/extension/timescaledb.control" ]; then
            printf '  %-12s %s\n' timescaledb "$(
                sed -n "s/^default_version = '\(.*\)'/\1/p" "$share/extension/timescaledb.control")"
        else
            printf '  %-12s %s\n' timescaledb 'not installed: plain PostgreSQL only'
        fi
    else
        printf '  %-12s %s\n' postgresql 'missing: scripts/setup.sh postgres'
    fi
    if have tshark; then
        printf '  %-12s %s\n' tshark "$(tshark --version 2>/dev/null | head -n 1)"
    else
        printf '  %-12s %s\n' tshark 'missing: scripts/setup.sh tshark'
    fi
    printf '  %-12s %s\n' network "$(network_tier)"
    if [ -x "$oracles/bin/python" ]; then
        printf '  %-12s %s\n' oracles "$("$oracles/bin/python" --version)"
    else
        printf '  %-12s %s\n' oracles 'missing: scripts/setup.sh oracles'
    fi
}

[ $# -gt 0 ] || set -- postgres tshark oracles cargo-deny
for what in "$@"; do
    case $what in
    postgres) setup_postgres ;;
    tshark) setup_tshark ;;
    oracles) setup_oracles ;;
    network) setup_network ;;
    cargo-deny) setup_cargo_deny ;;
    cargo-fuzz) setup_cargo_fuzz ;;
    tiers) show_tiers ;;
    *) fail "unknown: $what (known: postgres tshark oracles network cargo-deny cargo-fuzz tiers)" ;;
    esac
done
