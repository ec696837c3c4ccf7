# Runs in the calico-node container right after its start. A node counts as Ready as soon as there is a
# CNI configuration, so it gets that when pods can really be connected: before, the plugin fails for want
# of files that this container writes, and kubelet tries such a pod again only after 10 to 15 s; or the
# pod comes up with a wrong MTU and without its policies.
# It never holds a node back for good: after the last try things are as upstream has them.
tries=0
until { [ -e /var/lib/calico/mtu ] && /bin/calico-node -felix-ready; } || [ "$tries" -ge 100 ]; do
	tries=$((tries + 1))
	sleep 0.1
done
cd /host/etc/cni/net.d || exit 0
[ ! -e 10-calico.conflist.staged ] || mv -f 10-calico.conflist.staged 10-calico.conflist
