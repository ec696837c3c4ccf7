package cmd

import (
	"cmp"
	"errors"
	"fmt"
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
	u.PodCIDR, u.IPv6.Pods, errs[1] = parsePrefixes(u.Origin, "--pod-cidr", f.pods)
	u.ServiceCIDR, u.IPv6.Services, errs[2] = parsePrefixes(u.Origin, "--service-cidr", f.services)
	u.Problems = errs[:]
	if errs[1] != nil { // one problem of each is enough
		u.PodCIDR, u.IPv6.Pods = inPlace(bootstrap.DefaultPodCIDR, bootstrap.UsualPodCIDR6, u.IPv6.Services)
	}
	if errs[2] != nil {
		u.ServiceCIDR, u.IPv6.Services = inPlace(bootstrap.DefaultServiceCIDR, bootstrap.UsualServiceCIDR6, u.IPv6.Pods)
	}
}

// inPlace stands for networks that could not be read, so that nothing is said of them twice: two if there are two of the others.
func inPlace(first, second string, other netip.Prefix) (netip.Prefix, netip.Prefix) {
	if !other.IsValid() {
		return netip.MustParsePrefix(first), netip.Prefix{}
	}
	return netip.MustParsePrefix(first), netip.MustParsePrefix(second)
}

// parsePrefix wants an IPv4 network. An empty one stays the zero prefix.
func parsePrefix(origin *config.Origin, flag, text string) (netip.Prefix, error) {
	if text == "" {
		return netip.Prefix{}, nil
	}
	p, err := netip.ParsePrefix(text)
	switch {
	case strings.Contains(text, ","):
		err = errors.New("it is more than one network, which only the pods and services of a local cluster can have")
	case err == nil && (p != p.Masked() || !p.Addr().Is4()):
		err = errors.New("it is not an IPv4 network")
	}
	if err != nil {
		return netip.Prefix{}, fault.New("option-invalid", "use "+origin.Flag(flag, strconv.Quote(text)), err, "see --help of the command")
	}
	return p, nil
}

// parsePrefixes wants an IPv4 network and, behind a comma, may have an IPv6 one, as kubeadm's configuration does. The second is zero
// where there is none.
func parsePrefixes(origin *config.Origin, flag, text string) (first, second netip.Prefix, err error) {
	one, other, both := strings.Cut(text, ",")
	if !both {
		first, err = parsePrefix(origin, flag, text)
		return first, second, err
	}
	first, err = netip.ParsePrefix(one)
	second, oerr := netip.ParsePrefix(other)
	switch {
	case strings.Contains(other, ","):
		err = errors.New("it is more than two networks: give an IPv4 one, or an IPv4 and an IPv6 one")
	case err != nil || oerr != nil:
		err = cmp.Or(err, oerr)
	case first.Addr().Is4() == second.Addr().Is4():
		err = errors.New("both are of one family: give an IPv4 network and an IPv6 one")
	case second.Addr().Is4():
		err = errors.New("the IPv4 network must be the first: the cluster's own services have their addresses in that")
	case first != first.Masked() || second != second.Masked():
		err = fmt.Errorf("it is not two networks: the first addresses of these are %v and %v", first.Masked(), second.Masked())
	}
	if err != nil {
		err = fault.New("option-invalid", "use "+origin.Flag(flag, strconv.Quote(text)), err, "see --help of the command")
		return netip.Prefix{}, netip.Prefix{}, err
	}
	return first, second, nil
}

// upExample is the file that the help shows.
const upExample = `apiVersion: slipway.dev/v1alpha1
kind: LocalCluster
workers: 1
apiServer: {extraArgs: {max-requests-inflight: "200"}}
kubelet: {maxPods: 50}
mounts: [{hostPath: /srv/data, nodePath: /mnt/data, readOnly: true}]
`
