#!/usr/bin/env bash
# Starts a Slurm cluster on this machine: each node is a network namespace with a slurmd, connected by a bridge. Files lie
# below DIR, and names are derived from it, so that several clusters can run at once.
#
#   cluster.sh up DIR [NODES [TASK_PLUGIN]]   default: 2 and task/none; exits with 77 if it is impossible here.
#                                    With task/affinity ranks are bound to cores; a node then has two cores instead of four
#   cluster.sh down DIR              removes all processes, interfaces, namespaces and mounts, whatever state they are in
#   cluster.sh env DIR               prints the variables for sbatch, srun, squeue and scontrol
#   cluster.sh kill-node DIR N       kills every process of the node, as a power cut; revive-node DIR N restarts its slurmd
#   cluster.sh cut-link DIR N        and mend-link DIR N: the node keeps running without connection
#
# Partitions: preemptible (the default; its jobs are requeued after 15 s when urgent wants the nodes) and urgent.
set -euo pipefail

skip() { printf 'no cluster here: %s\n' "$*" >&2; exit 77; }
die() { printf '%s\n' "$*" >&2; exit 1; }

[ $# -ge 2 ] || { sed -n '5,11s/^# \{0,1\}//p' "$0" >&2; exit 2; }
action=$1
mkdir -p "$2"
dir=$(cd "$2" && pwd)
number=${3:-2}
task_plugin=${4:-task/none}
id=$(printf '%s' "$dir" | sha256sum | cut -c1-5)
octet() { printf '%d' $((16#${id:$1:2} % 254 + 1)); }
net=10.$(octet 0).$(octet 2)
port=$((20000 + 16#${id:0:4} % 6000 * 2))  # below the kernel's range of ephemeral ports
bridge=mk${id}b
namespace() { printf 'mk%s-%s' "$id" "$1"; }

outer() { printf 'mk%sh%s' "$id" "$1"; }  # the bridge's end of a node's link
nodes_of() { cat "$dir/nodes" 2>/dev/null || echo 0; }
export SLURM_CONF=$dir/slurm.conf

write_configuration() {
  local nodes=$1 node cores=CPUs=4
  [ "$task_plugin" = task/none ] || cores='CPUs=2 Sockets=1 CoresPerSocket=2 ThreadsPerCore=1'
  cat >"$dir/slurm.conf" <<EOT
ClusterName=mk$id
SlurmctldHost=$(hostname)($net.1)
SlurmctldPort=$port
SlurmdPort=$((port + 1))
AuthType=auth/munge
AuthInfo=socket=$dir/munge.sock,cred_expire=5
SlurmUser=root
SlurmdUser=root
StateSaveLocation=$dir/state
SlurmdSpoolDir=$dir/spool-%n
SlurmctldPidFile=$dir/slurmctld.pid
SlurmdPidFile=$dir/slurmd-%n.pid
SlurmctldLogFile=$dir/slurmctld.log
SlurmdLogFile=$dir/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=$task_plugin
SlurmdParameters=config_overrides
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
MpiDefault=pmix
ReturnToService=2
SlurmdTimeout=10
SlurmctldTimeout=10
KillWait=5
# The old batch step of a node that was cut off reports its end repeatedly, for longer than the usual minute; the node
# would then be drained ("Kill task failed").
UnkillableStepTimeout=300
SchedulerParameters=bf_interval=1,sched_interval=2,batch_sched_delay=1
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
GresTypes=gpu
NodeName=n[1-$nodes] NodeAddr=$net.[11-$((10 + nodes))] $cores RealMemory=4000 Gres=gpu:2 State=UNKNOWN
PartitionName=preemptible Nodes=ALL Default=YES PriorityTier=1 PreemptMode=REQUEUE GraceTime=15 MaxTime=INFINITE
PartitionName=urgent Nodes=ALL PriorityTier=10 PreemptMode=OFF MaxTime=INFINITE
EOT
  printf 'PMIxCliTmpDirBase=%s/pmix\n' "$dir" >"$dir/mpi.conf"
  : >"$dir/gres.conf"
  for node in $(seq "$nodes"); do
    printf 'NodeName=n%d Name=gpu File=%s/gpu[0-1]\n' "$node" "$dir" >>"$dir/gres.conf"
  done
  for device in 0 1; do
    [ -e "$dir/gpu$device" ] || mknod "$dir/gpu$device" c 1 3
  done
}

start_node() {
  local node=$1
  mkdir -p "$dir/spool-n$node"
  # Separate /dev/shm and PMIx folders, as on separate machines: two nodes would conflict in shared ones.
  # shellcheck disable=SC2016
  setsid nsenter --net="/run/netns/$(namespace "$node")" unshare --mount --uts bash -c '
    hostname "n$1"
    mount -t tmpfs tmpfs /dev/shm
    mount -t tmpfs tmpfs "$2/pmix"
    # Restart it as a service manager would: slurmd 22.05 sometimes aborts when steps begin together (double free).
    cd "$2"
    ulimit -c 0
    until slurmd -D -N "n$1"; do sleep 0.5; done' bash "$node" "$dir" >"$dir/slurmd-n$node.out" 2>&1 </dev/null &
}

kill_node() {
  local pids
  for _ in $(seq 50); do
    pids=$(ip netns pids "$(namespace "$1")" 2>/dev/null) || return 0
    [ -n "$pids" ] || return 0
    # shellcheck disable=SC2086
    kill -KILL $pids 2>/dev/null || true
    sleep 0.1
  done
  die "processes of node $1 do not die: $pids"
}

up() {
  local nodes=$number node name
  [ "$(id -u)" -eq 0 ] || skip "not root"
  for name in slurmctld slurmd munged ip nsenter unshare; do
    command -v "$name" >/dev/null || skip "$name is missing (env/install.sh tests)"
  done
  if [ "$task_plugin" != task/none ] && [ "$(env -u OMP_NUM_THREADS nproc)" -lt 2 ]; then skip "two cores are needed to bind ranks to"; fi
  [ ! -e "$dir/nodes" ] || die "$dir has a cluster already"
  ! ip -4 route show | grep -qF "$net." || die "$net.0/24 is in use here: take another folder"
  echo "$nodes" >"$dir/nodes"
  ip netns add "$(namespace 1)" 2>/dev/null || { rm "$dir/nodes"; skip "network namespaces are not permitted"; }
  if ! ip link add "$bridge" type bridge 2>/dev/null; then
    ip netns del "$(namespace 1)"
    rm "$dir/nodes"
    skip "a bridge can't be made"
  fi
  trap '[ $? -eq 0 ] || down' EXIT
  ip addr add "$net.1/24" dev "$bridge"
  ip link set "$bridge" up
  for node in $(seq "$nodes"); do
    [ "$node" -eq 1 ] || ip netns add "$(namespace "$node")"
    ip link add "$(outer "$node")" type veth peer name eth0 netns "$(namespace "$node")"
    ip link set "$(outer "$node")" master "$bridge" up
    ip -n "$(namespace "$node")" addr add "$net.$((10 + node))/24" dev eth0
    ip -n "$(namespace "$node")" link set eth0 up
    ip -n "$(namespace "$node")" link set lo up
  done
  rm -rf "$dir/state" "$dir"/spool-n*  # else slurmctld would wait for jobs of an earlier cluster
  mkdir -p "$dir/state" "$dir/pmix"
  write_configuration "$nodes"
  dd if=/dev/urandom of="$dir/munge.key" bs=1024 count=1 2>/dev/null
  chmod 600 "$dir/munge.key"
  setsid munged --force --key-file="$dir/munge.key" --socket="$dir/munge.sock" --pid-file="$dir/munged.pid" \
    --log-file="$dir/munged.log" --seed-file="$dir/munge.seed" >"$dir/munged.out" 2>&1 </dev/null
  setsid slurmctld -D >"$dir/slurmctld.out" 2>&1 </dev/null &
  for node in $(seq "$nodes"); do start_node "$node"; done
  for _ in $(seq 300); do
    [ "$(sinfo --noheader --Node --partition=urgent --states=idle --format=%N 2>/dev/null | wc -l)" -ne "$nodes" ] || return 0
    sleep 0.2
  done
  tail -n 5 "$dir"/slurm*.log "$dir"/slurm*.out >&2
  die "the nodes did not come up"
}

# Kills every process that was started with this cluster's SLURM_CONF: daemons, and srun, salloc and the like of a test
# that has ended; except the ancestors of this script.
kill_started() {
  local pid mine=' ' above=$$ candidates found
  while [ "${above:-0}" -gt 0 ]; do
    mine+="$above "
    above=$(sed -n 's/^PPid:\t//p' "/proc/$above/status" 2>/dev/null || true)
  done
  for _ in $(seq 50); do
    # The search also finds its own processes; they have ended when the result is available.
    candidates=$(grep -lzxF "SLURM_CONF=$dir/slurm.conf" /proc/[0-9]*/environ 2>/dev/null | cut -d/ -f3 || true)
    found=
    for pid in $candidates; do
      case $mine in *" $pid "*) continue ;; esac
      if kill -KILL "$pid" 2>/dev/null && ! grep -q '^State:.Z' "/proc/$pid/status" 2>/dev/null; then found+=" $pid"; fi
    done
    [ -n "$found" ] || return 0
    sleep 0.1
  done
  die "processes of $dir do not die:$found"
}

down() {
  local node
  trap - EXIT
  kill_started
  for node in $(seq "$(nodes_of)"); do kill_node "$node"; done
  for node in $(seq "$(nodes_of)"); do
    ip link del "$(outer "$node")" 2>/dev/null || true
    ip netns del "$(namespace "$node")" 2>/dev/null || true
  done
  ip link del "$bridge" 2>/dev/null || true
  rm -f "$dir/nodes" "$dir/munge.sock" "$dir/munge.sock.lock" "$dir/gpu0" "$dir/gpu1"
}

case $action in
  kill-node | revive-node | cut-link | mend-link)
    case ${3:-none} in *[!0-9]*) die "$action needs the number of a node" ;; esac
    if [ "$number" -lt 1 ] || [ "$number" -gt "$(nodes_of)" ]; then die "there is no node $number in $dir"; fi ;;
esac
case $action in
  up) up ;;
  down) down ;;
  env) printf 'export SLURM_CONF=%q\n' "$dir/slurm.conf" ;;
  kill-node) kill_node "$number" ;;
  revive-node)
    rm -rf "$dir/spool-n$number" # as on a diskless node: old sockets make PMIx fail
    start_node "$number" ;;
  cut-link) ip link set "$(outer "$number")" down ;;
  mend-link) ip link set "$(outer "$number")" up ;;
  *) die "unknown action $action" ;;
esac
