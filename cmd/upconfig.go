package cmd

import (
	"errors"
	"net/netip"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"slipway.dev/slipway/bootstrap"
	"slipway.dev/slipway/bootstrap/config"
	"slipway.dev/slipway/cmd/localcluster"
	"slipway.dev/slipway/internal/fault"
)

// upFlags are those of up that are not options of package localcluster as they are.
type upFlags struct {
	config, subnet, pods, services string
}

// readFile takes from the file what the command line leaves open. Of a file that is wrong all other settings are checked too.
func (f *upFlags) readFile(c *cobra.Command, u *localcluster.Options) error {
	if f.config == "" {
		return nil
	}
	file, origin, err := config.ReadLocal(f.config)
	if file == nil {
		return err
	}
	origin.Given = c.Flags().Changed
	u.Origin = origin
	f.merge(c, u, file)
	if err != nil {
		f.complete(u)
		return errors.Join(err, u.Validate())
	}
	return nil
}

func (f *upFlags) merge(c *cobra.Command, u *localcluster.Options, file *config.LocalCluster) {
	unlessGiven(c, "name", &u.Name, file.Name)
	unlessGiven(c, "control-planes", &u.ControlPlanes, file.ControlPlanes)
	unlessGiven(c, "workers", &u.Workers, file.Workers)
	unlessGiven(c, "cpus", &u.CPUs, file.CPUs)
	unlessGiven(c, "memory", &u.Memory, file.Memory)
	unlessGiven(c, "kubernetes-version", &u.Version, file.KubernetesVersion)
	unlessGiven(c, "bundle", &u.Bundle, file.Bundle)
	unlessGiven(c, "registry-ca", &u.Registry.CA, file.RegistryCA)
	unlessGiven(c, "registry-plain-http", &u.Registry.PlainHTTP, file.RegistryPlainHTTP)
	unlessGiven(c, "egress", &u.Egress, file.Egress)
	unlessGiven(c, "key-algorithm", (*string)(&u.Keys), file.KeyAlgorithm)
	unlessGiven(c, "typha", &u.Typha, file.Typha)
	unlessGiven(c, "cni", &u.CNI, file.CNI)
	unlessGiven(c, "subnet", &f.subnet, file.Subnet)
	unlessGiven(c, "pod-cidr", &f.pods, file.PodCIDR)
	unlessGiven(c, "service-cidr", &f.services, file.ServiceCIDR)
	unlessGiven(c, "dns-domain", &u.DNSDomain, file.DNSDomain)
	unlessGiven(c, "image", &u.Images, &file.Images)
	unlessGiven(c, "registry-mirror", &u.Mirrors, &file.RegistryMirrors)
	unlessGiven(c, "publish", &u.Publish, &file.Publish)
	u.Settings = file.Settings()
	for _, m := range file.Mounts {
		mount := localcluster.Mount(m)
		if mount.HostPath != "" {
			mount.HostPath = absolute(mount.HostPath)
		}
		u.Mounts = append(u.Mounts, mount)
	}
	if file.Roles != nil {
		u.ControlPlane, u.Worker = role(file.Roles.ControlPlane), role(file.Roles.Worker)
	}
}

func role(r config.Role) localcluster.Role {
	out := localcluster.Role{Labels: r.NodeLabels()}
	for _, t := range r.Taints {
		out.Taints = append(out.Taints, bootstrap.Taint(t))
	}
	return out
}

// complete parses the three subnets. What is wrong with them is told with all the rest.
func (f *upFlags) complete(u *localcluster.Options) {
	var errs [3]error
	u.Subnet, errs[0] = parsePrefix(u.Origin, "--subnet", f.subnet)
	u.PodCIDR, errs[1] = parsePrefix(u.Origin, "--pod-cidr", f.pods)
	u.ServiceCIDR, errs[2] = parsePrefix(u.Origin, "--service-cidr", f.services)
	u.Problems = errs[:]
	if errs[1] != nil { // one problem of each is enough
		u.PodCIDR = netip.MustParsePrefix(bootstrap.DefaultPodCIDR)
	}
	if errs[2] != nil {
		u.ServiceCIDR = netip.MustParsePrefix(bootstrap.DefaultServiceCIDR)
	}
}

// parsePrefix wants an IPv4 network. An empty one stays the zero prefix.
func parsePrefix(origin *config.Origin, flag, text string) (netip.Prefix, error) {
	if text == "" {
		return netip.Prefix{}, nil
	}
	p, err := netip.ParsePrefix(text)
	switch {
	case strings.Contains(text, ","):
		err = errors.New("dual stack is not supported yet: give one IPv4 network")
	case err == nil && (p != p.Masked() || !p.Addr().Is4()):
		err = errors.New("it is not an IPv4 network")
	}
	if err != nil {
		return netip.Prefix{}, fault.New("option-invalid", "use "+origin.Flag(flag, strconv.Quote(text)), err, "see --help of the command")
	}
	return p, nil
}

// upExample is the file that the help shows.
const upExample = `apiVersion: slipway.dev/v1alpha1
kind: LocalCluster
workers: 1
apiServer: {extraArgs: {max-requests-inflight: "200"}}
kubelet: {maxPods: 50}
mounts: [{hostPath: /srv/data, nodePath: /mnt/data, readOnly: true}]
`
