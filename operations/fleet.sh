#!/usr/bin/env bash
# A whole fleet as processes of this machine: PostgreSQL, three members of etcd, two coordinators behind one
# address, three workers. All of it is on 127.0.0.1, on free ports.
#
#   operations/fleet.sh start [DIR]     begins what does not run; again, what has ended since
#   operations/fleet.sh status [DIR]    0: all of it runs; 1: a part has ended; 3: nothing runs
#   operations/fleet.sh stop [DIR]      ends all of it; workers give back what they are at; the data stays
#
# DIR keeps data, logs and process ids: ~/.local/state/qmtl-fleet where none is given. `. DIR/env` makes qmtl use
# the fleet. DIR/qmtl.yml, which is made once and may be edited, says where workers get bars from: from Binance,
# or from a simulator of it at FLEET_EXCHANGE.
#
# Needs Linux, PostgreSQL (apt-get install postgresql), etcd 3.6 or 3.7 in PATH or as FLEET_ETCD, and
# 'qmtl[ccxt,postgres,services]': that of this checkout, or of PATH.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
command=${1:-}
dir=$(realpath -m "${2:-${XDG_STATE_HOME:-$HOME/.local/state}/qmtl-fleet}")

# In the order in which they are started; they are stopped in the opposite one.
parts=(postgres etcd-0 etcd-1 etcd-2 coordinator-0 coordinator-1 balance worker-0 worker-1 worker-2)

fail() {
    echo "fleet.sh: $1" >&2
    exit "${2:-2}"
}

# When a process began, in ticks since the machine did: with its id that is one process for ever.
began() {
    local stat fields
    stat=$(cat "/proc/$1/stat" 2> /dev/null) || return 1
    # The name of the program, in brackets, may hold blanks; a zombie has ended.
    read -r -a fields <<< "${stat##*) }"
    [ "${fields[0]}" != Z ] && echo "${fields[19]}"
}

# The id of a part, if it runs.
pid_of() {
    local pid start
    read -r pid start 2> /dev/null < "$dir/pids/$1" || return 1
    [ -n "$start" ] && [ "$(began "$pid")" = "$start" ] && echo "$pid"
}

# begin PART COMMAND...: in the background, as a process that outlives this script.
begin() {
    local part=$1
    shift
    pid_of "$part" > /dev/null && return
    setsid "$@" < /dev/null >> "$dir/logs/$part" 2>&1 &
    echo "$! $(began $!)" > "$dir/pids/$part"
}

# wait_until SECONDS PART COMMAND...: until it succeeds; PART must not end meanwhile.
wait_until() {
    local deadline=$((SECONDS + $1)) part=$2
    shift 2
    until "$@" > /dev/null 2>&1; do
        pid_of "$part" > /dev/null || fail "$part has ended: $(tail -n 3 "$dir/logs/$part")" 7
        [ $SECONDS -lt $deadline ] || fail "$part does not answer; see $dir/logs/$part" 7
        sleep 0.1
    done
}

answers() {
    "$python" -c 'import sys, urllib.request as u; u.build_opener(u.ProxyHandler({})).open(sys.argv[1], timeout=5)' "$1"
}

# PostgreSQL refuses to run as root; Debian's package brings the user that it runs as then.
as_server() {
    if [ "$(id -u)" = 0 ]; then
        setpriv --reuid=postgres --regid=postgres --clear-groups "$@"
    else
        "$@"
    fi
}

find_programs() {
    qmtl=$here/../.venv/bin/qmtl
    [ -x "$qmtl" ] || qmtl=$(command -v qmtl) || fail "there is no qmtl in PATH, and no checkout that 'make setup' was run in"
    qmtl=$(readlink -f "$qmtl")
    python=$(dirname "$qmtl")/python
    etcd=${FLEET_ETCD:-$(command -v etcd || true)}
    [ -x "$etcd" ] || fail "there is no etcd in PATH, and none at FLEET_ETCD"
    postgres=$(find /usr/lib/postgresql -path '*/bin/initdb' 2> /dev/null | sort -V | tail -n 1)
    postgres=${postgres%/initdb}
    [ -n "$postgres" ] || fail "there is no PostgreSQL: apt-get install postgresql"
}

# Below those that the system gives to outgoing connections, one of which could take one before its server does.
free_ports() {
    "$python" - "$1" << 'PYTHON'
import secrets, socket, sys

taken = []
while len(taken) < int(sys.argv[1]):
    probe = socket.socket()
    try:
        probe.bind(("127.0.0.1", 10_000 + secrets.randbelow(22_000)))
    except OSError:
        continue
    taken.append(probe)
print(*(probe.getsockname()[1] for probe in taken))
PYTHON
}

# What is decided once: ports, and where PostgreSQL may write.
lay_out() {
    mkdir -p "$dir/pids" "$dir/logs"
    chmod 700 "$dir"
    [ -e "$dir/ports" ] || { free_ports 10 > "$dir/ports.new" && mv "$dir/ports.new" "$dir/ports"; }
    read -r -a ports < "$dir/ports"
    if [ ! -e "$dir/qmtl.yml" ]; then
        local urls=
        [ -z "${FLEET_EXCHANGE:-}" ] || urls=", urls: $FLEET_EXCHANGE"
        printf 'seamless:\n  vendors:\n    - {match: "ohlcv:binance:*", kind: ccxt, exchange: binance%s}\n' "$urls" > "$dir/qmtl.yml"
    fi
    cat > "$dir/env" << ENV
export QMTL_SEAMLESS_STORE='postgresql://qmtl@127.0.0.1:${ports[0]}/postgres?schema=bars'
export QMTL_SEAMLESS_COORDINATOR_URL='http://127.0.0.1:${ports[9]}'
ENV
}

start_postgres() {
    local data=$dir/postgres
    if [ "$(id -u)" = 0 ]; then
        # Other users may not enter the folders of root.
        [ -e "$dir/postgres-data" ] || mktemp -d /tmp/qmtl-fleet-postgres-XXXXXX > "$dir/postgres-data"
        data=$(cat "$dir/postgres-data")
        chown postgres "$data"
        data=$data/data
    fi
    # One that was killed in the middle of this is laid out anew.
    if [ ! -e "$dir/postgres-laid-out" ]; then
        rm -rf "$data"
        (cd / && as_server "$postgres/initdb" -D "$data" -A trust -U qmtl -E UTF8 --locale=C) > "$dir/logs/initdb" 2>&1 \
            || fail "PostgreSQL cannot be laid out; see $dir/logs/initdb" 7
        touch "$dir/postgres-laid-out"
    fi
    local port=${ports[0]}
    pid_of postgres > /dev/null || (
        cd /
        if [ "$(id -u)" = 0 ]; then set -- setpriv --reuid=postgres --regid=postgres --clear-groups; else set --; fi
        begin postgres "$@" "$postgres/postgres" -D "$data" -p "$port" -c listen_addresses=127.0.0.1 \
            -c unix_socket_directories= -c max_connections=200
    )
    wait_until 60 postgres "$postgres/pg_isready" -q -h 127.0.0.1 -p "$port"
}

start_etcd() {
    local number cluster=""
    for number in 0 1 2; do
        cluster+=${cluster:+,}n$number=http://127.0.0.1:${ports[1 + number]}
    done
    for number in 0 1 2; do
        local peer=http://127.0.0.1:${ports[1 + number]} client=http://127.0.0.1:${ports[4 + number]}
        begin "etcd-$number" "$etcd" --name "n$number" --data-dir "$dir/etcd-$number" \
            --listen-peer-urls "$peer" --initial-advertise-peer-urls "$peer" \
            --listen-client-urls "$client" --advertise-client-urls "$client" \
            --initial-cluster "$cluster" --auto-compaction-retention 1h
    done
    for number in 0 1 2; do
        wait_until 60 "etcd-$number" answers "http://127.0.0.1:${ports[4 + number]}/health"
    done
}

start_coordinators() {
    local number urls=http://127.0.0.1:${ports[4]},http://127.0.0.1:${ports[5]},http://127.0.0.1:${ports[6]}
    for number in 0 1; do
        begin "coordinator-$number" "$qmtl" --log json serve coordinator --etcd "$urls" --port "${ports[7 + number]}"
    done
    for number in 0 1; do
        wait_until 60 "coordinator-$number" answers "http://127.0.0.1:${ports[7 + number]}/readyz"
    done
    begin balance "$python" "$here/balance.py" "${ports[9]}" "${ports[7]}" "${ports[8]}"
    wait_until 30 balance answers "http://127.0.0.1:${ports[9]}/readyz"
}

start_workers() {
    local number
    # shellcheck source=/dev/null
    . "$dir/env"
    for number in 0 1 2; do
        # As on machines of their own: none sees the locks of another.
        XDG_STATE_HOME=$dir/worker-$number \
            begin "worker-$number" "$qmtl" --log json --config "$dir/qmtl.yml" worker
    done
    for number in 0 1 2; do
        wait_until 60 "worker-$number" grep -q 'takes shards from' "$dir/logs/worker-$number"
    done
}

start() {
    find_programs
    lay_out
    start_postgres
    start_etcd
    start_coordinators
    start_workers
    echo "the fleet runs; to use it: . $(printf %q "$dir/env")"
}

status() {
    local part pid running=0
    for part in "${parts[@]}"; do
        if pid=$(pid_of "$part"); then
            running=$((running + 1))
            printf '%-14s runs   %s\n' "$part" "$pid"
        else
            printf '%-14s ended\n' "$part"
        fi
    done
    [ $running -eq ${#parts[@]} ] && return
    [ $running -eq 0 ] && return 3
    return 1
}

# end SECONDS SIGNAL PART...: all at once; what does not end in time is killed.
end() {
    local deadline=$((SECONDS + $1)) signal=$2 part pid
    shift 2
    for part in "$@"; do
        if pid=$(pid_of "$part"); then kill "-$signal" "$pid" 2> /dev/null || true; fi
    done
    for part in "$@"; do
        while pid=$(pid_of "$part"); do
            [ $SECONDS -lt $deadline ] || kill -KILL "$pid" 2> /dev/null || true
            sleep 0.1
        done
        rm -f "$dir/pids/$part"
    done
}

stop() {
    [ -d "$dir/pids" ] || { echo "no fleet was started in $dir"; return; }
    end 45 TERM worker-0 worker-1 worker-2
    end 20 TERM coordinator-0 coordinator-1 balance
    end 20 TERM etcd-0 etcd-1 etcd-2
    end 30 INT postgres
    echo "the fleet is stopped; its data stays in $dir"
}

case $command in
    start | status | stop) "$command" ;;
    *)
        awk 'NR > 1 && !/^#/ { exit } NR > 1 { sub(/^# ?/, ""); print }' "${BASH_SOURCE[0]}" >&2
        exit 2
        ;;
esac
