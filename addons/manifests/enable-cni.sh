# Runs in the calico-node container right after its start. A node counts as Ready as soon as there is a
# CNI configuration, so it gets that when pods can really be connected: before, the plugin fails for want
# of files that this container writes, and kubelet tries such a pod again only after 10 to 15 s; or the
# pod comes up with a wrong MTU and without its policies.
# It never holds a node back for good: after the last try things are as upstream has them.
# Felix is asked by the shell itself: calico-node -felix-ready does the same with a process of a hundred megabytes.
# The plugin also needs the kubeconfig that calico-node's token monitor writes, or wrote before a restart.
ready() (
	[ -e /var/lib/calico/mtu ] && [ -s /host/etc/cni/net.d/calico-kubeconfig ] && exec 3<>/dev/tcp/127.0.0.1/9099 &&
		printf 'GET /readiness HTTP/1.0\r\n\r\n' >&3 && read -r -t 1 _ code _ <&3 && [[ $code == 2* ]]
) 2>/dev/null
tries=0
until ready || [ "$tries" -ge 100 ]; do
	tries=$((tries + 1))
	sleep 0.1
done
cd /host/etc/cni/net.d || exit 0
[ ! -e 10-calico.conflist.staged ] || mv -f 10-calico.conflist.staged 10-calico.conflist
