# What the image's start_runit does, but for three things. runsvdir waits a second before it looks at a directory that was
# changed in that very second, as rc.local has just done: so this one gets an older time. Nobody reports what BGP
# does, as there is none with VXLAN: that is one process less of Calico's hundred megabytes. And where the node was one before,
# Felix does not wait until two of these have seen to it, one after the other, that the API has the node's addresses: it
# begins with those that it has, and follows if they are changed.
env >/etc/envvars
touch /etc/service/available/node-status-reporter/down
rm -rf /etc/service/available/*/log # they log to where the shell does
if [ "$(cat /var/lib/calico/nodename 2>/dev/null)" = "$NODENAME" ]; then
	mkdir -p /etc/service/enabled
	cp -a /etc/service/available/felix /etc/service/available/cni /etc/service/enabled/
	(/etc/rc.local || kill -HUP 1) & # which ends the services, and then the container
else
	/etc/rc.local || exit 1
fi
NODENAME=$(cat /var/lib/calico/nodename)
export NODENAME
touch -d @0 /etc/service/enabled
exec runsvdir -P /etc/service/enabled
