package build

// machine is the root file system of local machines and of VM images: a Debian that starts
// systemd and sshd quickly in a container, and has what kubelet and an admin call.
func machine(suite string) debian {
	return debian{
		suite: suite, variant: "minbase",
		packages: []string{"systemd", "systemd-sysv", "dbus", "openssh-server", "iptables", "nftables", "ipset", "conntrack",
			"ethtool", "socat", "iproute2", "iputils-ping", "procps", "kmod", "ca-certificates", "less", "curl", "mount",
			"netbase", "psmisc"},
		// An empty machine-id is filled in at boot, and boot is then not taken for the first one, which
		// would enable every unit. What is one machine's own is made on the machine: keys, identity, name, resolver. The kernel
		// settings of Debian would change the whole computer from inside a container.
		prune: append(unused(), "etc/ssh/ssh_host_*", "etc/machine-id", "var/lib/dbus/machine-id", "etc/hostname",
			"etc/resolv.conf", "etc/hosts", "usr/lib/sysctl.d/*", "etc/sysctl.d/99-sysctl.conf", "var/lib/systemd/*",
			"usr/lib/udev/hwdb*", "lib/udev/hwdb*", "etc/.pwd.lock", "var/cache/man", "var/lib/apt/extended_states",
			"etc/passwd-", "etc/group-", "etc/shadow-", "etc/gshadow-", "etc/subuid-", "etc/subgid-", "usr/share/perl*/*/unicore"),
		parts: append(append(masked(), settings()...), part{path: "etc/machine-id", blank: true}),
	}
}

// masked are units that wait for hardware, write to the computer's kernel, or fetch packages.
func masked() []part {
	var out []part
	for _, name := range []string{
		"getty.target", "getty@.service", "getty-static.service", "console-getty.service", "serial-getty@.service",
		"systemd-udevd.service", "systemd-udev-trigger.service", "systemd-udevd-control.socket", "systemd-udevd-kernel.socket",
		"apt-daily.timer", "apt-daily-upgrade.timer", "apt-daily.service", "apt-daily-upgrade.service", "dpkg-db-backup.timer",
		"e2scrub_all.timer", "e2scrub_reap.service", "fstrim.timer", "systemd-pstore.service", "systemd-binfmt.service",
		"proc-sys-fs-binfmt_misc.automount", "systemd-modules-load.service", "systemd-firstboot.service",
		"systemd-networkd-wait-online.service", "systemd-machine-id-commit.service", "systemd-random-seed.service",
		"systemd-timesyncd.service", "systemd-resolved.service", "systemd-update-utmp.service",
		"systemd-update-utmp-runlevel.service", "sys-kernel-debug.mount", "sys-kernel-tracing.mount", "sys-kernel-config.mount",
		"sys-fs-fuse-connections.mount", "dev-hugepages.mount", "swap.target",
	} {
		out = append(out, part{path: "etc/systemd/system/" + name, link: "/dev/null"})
	}
	return out
}

func settings() []part {
	return []part{
		{path: "etc/systemd/system/default.target", link: "/lib/systemd/system/multi-user.target"},
		// In memory and small: a machine's disk is the computer's own.
		{path: "etc/systemd/journald.conf.d/slipway.conf",
			text: "[Journal]\nStorage=volatile\nRuntimeMaxUse=32M\nRateLimitIntervalSec=0\nForwardToSyslog=no\n"},
		// Keys only. DNS and PAM's session would each cost time at every login.
		{path: "etc/ssh/sshd_config.d/slipway.conf",
			text: "PasswordAuthentication no\nKbdInteractiveAuthentication no\nPermitRootLogin prohibit-password\nUseDNS no\nPrintLastLog no\n"},
		{path: "etc/systemd/system.conf.d/slipway.conf", text: "[Manager]\nDefaultTimeoutStopSec=15s\n"},
		{path: "var/log/journal", mode: 0o755},
		{path: "tmp", mode: 0o1777}, {path: "run"}, {path: "dev"}, {path: "proc"}, {path: "sys"},
		{path: "opt/cni/bin"}, {path: "usr/local/sbin"},
	}
}
