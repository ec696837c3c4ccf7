package bootstrap

// What distributions do differently is here. Of the init system it is assumed that it is systemd, which package engine speaks to by
// D-Bus; a package manager is never asked. Programs of the bundle go where no distribution puts its own, and where kubeadm's users
// have them.
const (
	// UnitDir is for units of the administrator's, which count before those that packages put into VendorUnitDir.
	UnitDir       = "/etc/systemd/system"
	VendorUnitDir = "/usr/lib/systemd/system"
	// Booted is there where systemd is the init system: https://www.freedesktop.org/software/systemd/man/latest/sd_booted.html
	Booted = "/run/systemd/system"
	// Container is a file of systemd's in containers, which share kernel and disk with others.
	Container = "/run/systemd/container"

	ProgramDir       = "/usr/local/bin"
	SystemProgramDir = "/usr/local/sbin"
	// Program is where Slipway's own binary lies on every host.
	Program = ProgramDir + "/slipway"
	// SharedPrograms is where the kubelet looks for programs that serve volumes. It makes the directory, so it must not be read-only.
	SharedPrograms = "/usr/libexec/kubernetes"

	// SysctlFile has what Slipway sets of the kernel, for the next boot too.
	SysctlFile = "/etc/sysctl.d/90-slipway.conf"

	// ContainerdConfig is what a containerd reads unless it was told otherwise.
	ContainerdConfig = "/etc/containerd/config.toml"

	// CNIConfigs and CNIPrograms are where containerd looks for pods' networks unless it was told otherwise.
	CNIConfigs  = "/etc/cni/net.d"
	CNIPrograms = "/opt/cni/bin"
)

// Resolvers are the files that may name a host's resolvers. Where the first has only a local cache, systemd-resolved keeps the real ones
// in the second.
func Resolvers() []string { return []string{"/etc/resolv.conf", "/run/systemd/resolve/resolv.conf"} }
