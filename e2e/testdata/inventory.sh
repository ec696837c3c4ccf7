# Prints everything of a host that a node could change, one line each, in sections. What changes by itself is left out:
# systemd's own state, logs, sessions, counters of the kernel.
export LC_ALL=C
own=' /run/systemd| /run/udev| /run/log| /run/user| /run/utmp| /run/sshd| /run/dbus| /run/credentials| /dev/pts/|/var/log/journal'

echo "== files"
for dir in / /run /dev /var/lib/kubelet /var/lib/etcd /var/lib/containerd; do
	find "$dir" -xdev \( -path /proc -o -path /sys -o -path /tmp -o -path /root -o -path /var/lib/systemd \) -prune -o -printf '%y %m %U:%G %p %l\n' 2>/dev/null
done | grep -Ev "$own|/var/log/(wtmp|lastlog|btmp)|/systemd-private-" | sort -u

echo "== content"
find /etc /usr/local /opt /var/lib -xdev -type f -not -path '/var/lib/systemd/*' -exec sha256sum {} + | sort -k2

echo "== sysctls"
sysctl -a 2>/dev/null | grep -Ev 'random|nf_conntrack_count|dentry|inode-(nr|state)|file-nr|ns_last_pid|pty.nr|sched_domain|nf_log|quota' | sort

echo "== modules"
# Those in a container are the computer's.
test -e /run/systemd/container || cut -d' ' -f1 /proc/modules 2>/dev/null | sort

echo "== units"
systemctl list-unit-files --no-legend --no-pager | sort
systemctl list-units --all --no-legend --plain --no-pager | awk '{print $1, $2, $3}' |
	grep -Ev 'session|user@|user-|run-user|tmpfiles-clean|\.device|\.mount|\.timer' | sort

echo "== links, addresses, routes"
ip -o link | sed 's/^[0-9]*: //; s/qlen.*//; s/@if[0-9]*//' | sort
ip -o address | sed 's/^[0-9]*: //; s/valid_lft.*//' | sort
ip route show table all | sort
ip -6 route show table all | sort
ip rule

echo "== firewall"
nft list ruleset
iptables-legacy-save | grep -v '^#'
ip6tables-legacy-save | grep -v '^#'
ipset list -n

echo "== mounts"
awk '{$1 = $2 = $3 = ""; print}' /proc/self/mountinfo | grep -v /run/user |
	sed 's/,uuid=on//; s/shared:[0-9]*/shared/; s/master:[0-9]*/slave/' | sort

echo "== control groups"
find /sys/fs/cgroup -type d | grep -Ev 'session|user\.slice' | sort

echo "== processes"
# Those without arguments, in brackets, are threads of the kernel.
ps -eo comm,args --no-headers | awk '$2 !~ /^\[/ {print $1}' | grep -Evx 'ps|sh|sort|sshd|awk|find|xargs|bash|grep|udevadm|\(udev-worker\)|\(sd-pam\)|systemd|sha256sum' | sort
