# Shared by the scripts of this folder; sourced by each after `set -euo pipefail`.
# shellcheck shell=bash disable=SC2034 # what is set here is used by those that source it

HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
NODES=(node-a node-b)
export CONTAINERD_SUPPRESS_DEPRECATION_WARNINGS=1 # of cgroup version 1
BUSYBOX_IMAGE=mica.test/busybox:1 # in every cluster: it keeps a pod's namespaces open (config/containerd.toml)

die() {
    echo "${0##*/}: $*" >&2
    exit 1
}

# set_cluster DIR: whose cluster this is about. Sets DIR, absolute, and CLUSTER, the name of its cgroup.
set_cluster() {
    DIR=$(realpath -m -- "$1")
    CLUSTER=mica-cluster-$(printf %s "$DIR" | sha256sum | cut -c1-12)
}

# wait_for SECONDS WHAT COMMAND…: until COMMAND succeeds. COMMAND has to end by itself, and soon.
wait_for() {
    local seconds=$1 what=$2 deadline=$((SECONDS + $1))
    shift 2
    until "$@" >/dev/null 2>&1; do
        [ "$SECONDS" -lt "$deadline" ] || die "waited $seconds s in vain for $what"
        sleep 0.05
    done
}

# say WHAT…: a line with the seconds since STARTED, which the first script sets.
say() {
    local ms=$(((${EPOCHREALTIME/./} - STARTED) / 1000))
    printf '%4d.%d s  %s\n' $((ms / 1000)) $((ms % 1000 / 100)) "$*"
}

# start NAME COMMAND…: runs COMMAND for as long as the cluster is up and starts it again when it ends, as systemd would on
# a real node. $DIR/log/NAME is its log, $DIR/pids/NAME its process.
start() {
    local name=$1
    shift
    while true; do
        "$@" &
        record_pid "$name" $!
        wait $! || true
        echo "== $name ended; started again after a second"
        sleep 1
    done </dev/null >>"$DIR/log/$name" 2>&1 &
}

# hold PLACE: keeps the namespaces this script runs in open, for `enter`.
hold() {
    sleep infinity >/dev/null 2>&1 &
    record_pid "$1" $!
}

record_pid() { # NAME PID; renamed, so that nobody reads half of it
    echo "$2" >"$DIR/pids/.$1"
    mv "$DIR/pids/.$1" "$DIR/pids/$1"
}

api_is_ready() {
    curl --silent --fail --max-time 2 --cacert "$DIR/pki/ca.crt" https://10.77.0.1:6443/readyz
}
