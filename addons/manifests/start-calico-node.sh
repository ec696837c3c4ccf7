# What the image's start_runit does, but for two things. runsvdir waits a second before it looks at a directory that was
# changed in that very second, as rc.local has just done: so this one gets an older time. And nobody reports what BGP
# does, as there is none with VXLAN: that is one process less of Calico's hundred megabytes.
env >/etc/envvars
/etc/rc.local || exit 1
NODENAME=$(cat /var/lib/calico/nodename)
export NODENAME
rm -rf /etc/service/enabled/node-status-reporter
touch -d @0 /etc/service/enabled
exec runsvdir -P /etc/service/enabled
