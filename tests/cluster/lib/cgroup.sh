# The cgroup of a cluster holds all of its processes, so that `down` finds every one of them, whatever became of `up`.
# shellcheck shell=bash

# hierarchies: where cgroups are made on this machine: one folder with version 2, one for each controller with version 1.
hierarchies() {
    if [ -f /sys/fs/cgroup/cgroup.controllers ]; then
        echo /sys/fs/cgroup
    else
        dirname /sys/fs/cgroup/*/cgroup.procs
    fi
}

# members_in: the hierarchy in which membership is kept and read.
members_in() {
    if [ -f /sys/fs/cgroup/cgroup.controllers ]; then echo /sys/fs/cgroup; else echo /sys/fs/cgroup/pids; fi
}

# claim_cgroup: makes the cgroup; fails if it is there.
claim_cgroup() {
    mkdir "$(members_in)/$CLUSTER" 2>/dev/null
}

# make_cgroups: the cgroups below it: `programs` for our own processes, one per node for its pods.
make_cgroups() {
    local hierarchy group
    for hierarchy in $(hierarchies); do
        for group in "$CLUSTER" "$CLUSTER"/{programs,"${NODES[0]}","${NODES[1]}"}; do
            [ -d "$hierarchy/${group%/*}" ] && share_controllers "$hierarchy/${group%/*}"
            mkdir -p "$hierarchy/$group"
            inherit_cpus "$hierarchy/$group"
        done
    done
}

share_controllers() { # FOLDER: its children get all of its controllers (version 2)
    [ ! -f "$1/cgroup.subtree_control" ] || sed -E 's/[^ ]+/+&/g' "$1/cgroup.controllers" >"$1/cgroup.subtree_control"
}

inherit_cpus() { # FOLDER: a new cpuset has no processors and no memory (version 1), and nothing can run in it
    local file
    for file in cpuset.cpus cpuset.mems; do
        [ ! -f "$1/../$file" ] || [ ! -f "$1/$file" ] || [ -f "$1/cgroup.controllers" ] || cat "$1/../$file" >"$1/$file"
    done
}

# members: the processes of the cluster, pods included.
members() {
    find "$(members_in)/$CLUSTER" -name cgroup.procs -exec cat {} + 2>/dev/null | sort -u
}

# remove_cgroups: fails while one of them still has a process.
remove_cgroups() {
    local hierarchy left=0
    for hierarchy in $(hierarchies); do
        [ ! -d "$hierarchy/$CLUSTER" ] || find "$hierarchy/$CLUSTER" -depth -type d -exec rmdir {} + 2>/dev/null || left=1
    done
    return "$left"
}
