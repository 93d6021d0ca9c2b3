#!/bin/sh
# Run a command as a container on a VNIC, with a network and a host name of its own.
#
#     sh container.sh c1 sleep 1000
#
# As root. The container sees the files and processes of the host: more options of unshare(1)
# keep it from them.
set -eu
vnic=$1
shift

netns=$(mktemp /run/container-XXXXXX)
unshare --net="$netns" true # a new namespace, kept by the file
trap 'umount "$netns"; rm "$netns"' EXIT
trap 'exit 1' INT TERM HUP

snnet vnic attach "$vnic" --netns "$netns"
nsenter --net="$netns" unshare --uts sh -c 'hostname "$0"; exec "$@"' "$vnic" "$@"
