#!/bin/sh
# bare-check.sh FOLDER [TARGET...]: does a bare machine manage? For each make
# target (default: test demo) makes a minimal Debian in FOLDER with nothing but
# git, make and a C compiler, clones this repository into it (what is committed),
# runs the target there, and then once more, when nothing may be installed or
# built.
#
# Needs root and debootstrap. Packages come from where this system's apt gets
# them; its apt settings and certificates are copied. The bare system is kept in
# FOLDER.tar, so that a second check starts at once.
set -eu

[ $# -ge 1 ] || { echo "usage: $0 FOLDER [TARGET...]" >&2; exit 2; }
root=$1; shift
[ $# -gt 0 ] || set -- test demo
repository=$(cd "$(dirname "$0")/.." && pwd)
export DEBIAN_FRONTEND=noninteractive

# shellcheck source=/dev/null
suite=$(. /etc/os-release && echo "$VERSION_CODENAME")
# shellcheck disable=SC2016 # apt's own variables
mirror=$(apt-get indextargets --format '$(SITE) $(RELEASE)' 'Created-By: Packages' |
    awk -v suite="$suite" '$2 == suite { print $1; exit }')
[ -n "$mirror" ] || { echo "$0: apt has no source for $suite" >&2; exit 1; }

unmount() {
    for f in "$root/proc" "$root/dev/shm"; do
        if mountpoint -q "$f"; then umount "$f"; fi
    done
}
trap unmount EXIT

# What the system has, and a bare one can use: hooks of packages it lacks go.
copy_settings() {
    for f in /etc/apt/apt.conf.d /etc/ssl/certs /usr/local/share/ca-certificates; do
        mkdir -p "$root$f"
        cp -RL "$f/." "$root$f/" 2>/dev/null || true
    done
    grep -lE 'Post-Invoke|Pre-Install' "$root"/etc/apt/apt.conf.d/* | xargs -r rm -f
    cp -L /etc/resolv.conf /etc/hosts "$root/etc/"
}

clear() {
    unmount
    rm -rf --one-file-system "$root"
}

if [ ! -f "$root.tar" ]; then
    clear
    echo "== making a bare $suite"
    {
        debootstrap --variant=minbase --include=ca-certificates "$suite" "$root" "$mirror" </dev/null
        copy_settings
        chroot "$root" apt-get install -y --no-install-recommends git make gcc libc6-dev </dev/null
    } >"$root.log" 2>&1 || { tail "$root.log" >&2; exit 1; }
    # As on a machine whose package lists were never fetched.
    rm -rf "$root"/var/lib/apt/lists/*
    tar -C "$root" -cf "$root.tar" .
fi

status=0
for target; do
    clear
    mkdir -p "$root"
    tar -C "$root" -xf "$root.tar"
    copy_settings
    mount -t proc proc "$root/proc"
    mkdir -p "$root/dev/shm"
    mount -t tmpfs tmpfs "$root/dev/shm"
    git clone -q --no-local "$repository" "$root/vmem"
    for time in first second; do
        echo "== make $target, $time time"
        begin=$(date +%s)
        chroot "$root" env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8 \
            make -C /vmem "$target" </dev/null >"$root.$target.$time" 2>&1 || status=1
        cat "$root.$target.$time"
        echo "== $(($(date +%s) - begin)) s"
    done
    if grep -E '^vmem: |^(cc|gcc) ' "$root.$target.second"; then
        echo "== make $target installed or built something the second time"
        status=1
    fi
done
clear
if [ $status = 0 ]; then echo "== a bare machine manages: make $*"; fi
exit $status
