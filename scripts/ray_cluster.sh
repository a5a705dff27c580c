#!/bin/bash
# A Ray cluster of three nodes on one Linux host, to try what a cluster of machines does.
#
#   scripts/ray_cluster.sh up              starts it; node 1 is the head
#   scripts/ray_cluster.sh exec N CMD...   runs a command on node N
#   scripts/ray_cluster.sh kill N          cuts its network and kills all that runs on node N: a loss of power
#   scripts/ray_cluster.sh down            takes everything down
#
# Each node has a network namespace with an address of its own (10.77.0.N), joined by a bridge, and
# a mount namespace in which $RAY_NODE_DISK (/var/tmp/cotasp-ray-node) and /dev/shm are file systems
# of its own: nodes share no disk there.  Temporary files lie there, too.  Code is read from the
# host.  Needs root, ip, unshare and nsenter, and Ray in $PYTHON (python).
set -eu

NODES="1 2 3"
CPUS=${RAY_NODE_CPUS:-1}
DISK=${RAY_NODE_DISK:-/var/tmp/cotasp-ray-node}
STATE=${RAY_CLUSTER_STATE:-/var/tmp/cotasp-ray-cluster}
PYTHON=${PYTHON:-python}
BRIDGE=cotaspray
HEAD=10.77.0.1
RUN=  # `exec`, where the command is to take this process's place
RESERVED="--num-cpus=$CPUS --object-store-memory=100000000 --disable-usage-stats"

refuse() { echo "ray_cluster: $1" >&2; exit 1; }

name() { echo "cotaspray$1"; }

on_node() {  # N, command
    local n=$1 keeper
    shift
    keeper=$(cat "$STATE/$n" 2>/dev/null) || refuse "node $n: not up; run: $0 up"
    $RUN nsenter --target "$keeper" --net --mount --uts env \
        TMPDIR="$DISK/tmp" RAY_TMPDIR="$DISK/ray" RAY_ADDRESS="$HEAD:6379" RAY_AUTH_MODE=disabled "$@"
}

make_node() {  # N
    local n=$1 net
    net=$(name "$n")
    ip netns add "$net"
    ip link add "$net" type veth peer name eth0 netns "$net"
    ip link set "$net" master $BRIDGE up
    ip -n "$net" link set lo up
    ip -n "$net" address add "10.77.0.$n/24" dev eth0
    ip -n "$net" link set eth0 up
    # its keeper holds the node's namespaces until the node goes down
    ip netns exec "$net" unshare --mount --uts --propagation private \
        sh -c "mount -t tmpfs node$n '$DISK' && mount -t tmpfs shm /dev/shm &&
               mkdir '$DISK/tmp' && hostname node$n && touch '$DISK/ready' &&
               exec sleep infinity" </dev/null >/dev/null 2>&1 &
    disown
    echo $! >"$STATE/$n"
    for _ in $(seq 50); do
        on_node "$n" test -e "$DISK/ready" 2>/dev/null && return
        sleep 0.1
    done
    refuse "node $n: its namespaces could not be made; is this root with CAP_SYS_ADMIN?"
}

start_ray() {  # N
    local n=$1 role="--address=$HEAD:6379"
    [ "$n" = 1 ] && role="--head --port=6379 --include-dashboard=false --ray-client-server-port=10001
                          --temp-dir=$DISK/ray"
    # shellcheck disable=SC2086
    on_node "$n" env -u RAY_ADDRESS "$PYTHON" -m ray.scripts.scripts start $role \
        --node-ip-address="10.77.0.$n" $RESERVED >"$STATE/$n.log" 2>&1 ||
        { tail -5 "$STATE/$n.log" >&2; refuse "node $n: Ray did not start; see $STATE/$n.log"; }
}

kill_node() {  # N
    local pids
    pids=$(ip netns pids "$(name "$1")" 2>/dev/null | grep -vx "$(cat "$STATE/$1" 2>/dev/null)") || true
    # shellcheck disable=SC2086
    [ -z "$pids" ] || kill -9 $pids 2>/dev/null || true
}

down() {
    for n in $NODES; do
        kill_node "$n"
        [ ! -e "$STATE/$n" ] || kill -9 "$(cat "$STATE/$n")" 2>/dev/null || true
        ip netns delete "$(name "$n")" 2>/dev/null || true
        ip link delete "$(name "$n")" 2>/dev/null || true
    done
    ip link delete $BRIDGE 2>/dev/null || true
    rm -rf "$STATE"
    rmdir "$DISK" 2>/dev/null || true
}

up() {
    [ ! -e "$STATE" ] || refuse "$STATE: a cluster is up; take it down first: $0 down"
    mkdir -p "$DISK" "$STATE"
    trap 'down' ERR EXIT
    ip link add $BRIDGE type bridge
    ip link set $BRIDGE up
    ip address add 10.77.0.254/24 dev $BRIDGE
    for n in $NODES; do make_node "$n"; done
    start_ray 1
    local starting=
    for n in ${NODES#1}; do start_ray "$n" & starting="$starting $!"; done
    for pid in $starting; do wait "$pid"; done
    trap - ERR EXIT
    echo "up: $HEAD:6379, from the host ray://$HEAD:10001; on a node: $0 exec 1 COMMAND"
}

[ "$(id -u)" = 0 ] || refuse "needs root, to make network namespaces"
for tool in ip unshare nsenter; do
    command -v $tool >/dev/null || refuse "$tool is not installed; install iproute2 and util-linux"
done
case "${1:-}" in
    up) up ;;
    down) down ;;
    kill) n=${2:?which node: 1, 2 or 3}; ip link set "$(name "$n")" down; kill_node "$n" ;;
    exec) n=${2:?which node: 1, 2 or 3}; shift 2; RUN=exec; on_node "$n" "$@" ;;
    *) refuse "expected up, down, kill N or exec N COMMAND, got '${1:-nothing}'" ;;
esac
