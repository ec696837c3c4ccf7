package cmd

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/spf13/cobra"

	"slipway.dev/slipway/bootstrap"
	"slipway.dev/slipway/bootstrap/engine"
	"slipway.dev/slipway/bootstrap/invite"
	"slipway.dev/slipway/bootstrap/preflight"
	"slipway.dev/slipway/bootstrap/server"
	"slipway.dev/slipway/certs"
	"slipway.dev/slipway/internal/fault"
)

// hostFlags are those that init and join have in common.
type hostFlags struct {
	config  string
	address string
	bundle  bundleFlags
	dryRun  bool
	output  outputFormat
}

func (f *hostFlags) add(c *cobra.Command, h *server.Host) {
	f.bundle.add(c)
	c.Flags().StringVar(&f.config, "config", "", "file with these settings; flags count before it")
	c.Flags().StringVar(&h.NodeName, "node-name", "", "name of the node (default: this host's name)")
	c.Flags().StringVar(&f.address, "advertise-address", "", "address of this host in the cluster (default: that of the default route)")
	c.Flags().StringVar(&h.VirtualIPInterface, "virtual-ip-interface", "",
		"link of this control plane that may get the virtual IP (default: that with the host's address)")
	c.Flags().StringSliceVar(&h.Skip, "skip", nil, "steps that you do yourself; \"slipway init --dry-run\" lists them")
	c.Flags().StringSliceVar(&h.Ignore, "ignore-preflight", nil, "checks whose problems are only reported, or all:\n"+checkNames())
	c.Flags().DurationVar(&h.Wait, "wait", 5*time.Minute, "how long to wait until everything is ready")
	c.Flags().BoolVar(&f.dryRun, "dry-run", false, "list what would be changed, and change nothing")
	outputFlag(c, &f.output)
}

// read completes what both have in common.
func (f *hostFlags) read(o *options, h *server.Host) (err error) {
	h.Warn = func(w preflight.Finding) {
		fmt.Fprintf(o.Stderr, "warning[%s]: %s\n  next: %s\n", w.Name, w.Message, w.Advice)
	}
	if f.address != "" {
		if h.Address, err = netip.ParseAddr(f.address); err != nil || !h.Address.Is4() {
			err = fault.New("option-invalid", fmt.Sprintf("use --advertise-address %q", f.address), errors.New("it is not an IPv4 address"),
				"see --help of the command")
		}
	}
	bundle, berr := f.bundle.choose(o)
	h.Bundle, h.KubernetesVersion, h.Registry = bundle, f.bundle.version, f.bundle.registry
	return errors.Join(err, berr)
}

func newInit(o *options) *cobra.Command {
	var i server.InitOptions
	var flags initFlags
	c := &cobra.Command{
		Use: "init", Short: "Make this server the first control plane of a new cluster",
		Long: "Makes the server that it runs on the first control plane of a new cluster: certificates, container runtime, control\n" +
			"plane, kubelet, network and DNS, all from the bundle; nothing else is downloaded. It prints the commands that other servers\n" +
			"join with. Interrupted at any point, the same command goes on where it stopped; `slipway reset` takes everything back.\n" +
			"`slipway init --dry-run` lists the steps, which --skip can leave out, and what each would change. An etcd that is there\n" +
			"already is named in the file (etcd.external); without, each control plane runs a member.",
		Example: "  slipway init --bundle /media/bundle --dry-run\n" +
			"  slipway init --bundle oci://registry.example:5000/slipway/bundle:v1.37.1 --registry-ca ca.crt\n" +
			"  slipway init --bundle /media/bundle --control-plane-endpoint api.example.com:6443 --upload-certs\n" +
			"  slipway init --config init.yaml" + exampleOf("init.yaml", "docs/servers-config.md", initExample),
		Args:    cobra.NoArgs,
		PreRunE: func(c *cobra.Command, _ []string) error { return flags.readFile(c, &i) },
		RunE: func(c *cobra.Command, _ []string) error {
			var errs [4]error
			i.PodCIDR, errs[0] = parsePrefix(i.Origin, "--pod-cidr", flags.pods)
			i.ServiceCIDR, errs[1] = parsePrefix(i.Origin, "--service-cidr", flags.services)
			i.VirtualIP, errs[2] = parseVirtualIP(flags.virtualIP)
			errs[3] = flags.read(o, &i.Host)
			if err := errors.Join(errs[:]...); err != nil {
				return err
			}
			if flags.dryRun {
				changes, err := server.PlanInit(c.Context(), i)
				return printChanges(o, flags.output, changes, err)
			}
			show, finish := showEvents(o, flags.output)
			cluster, err := server.Init(c.Context(), i, show)
			finish()
			if err != nil {
				return err
			}
			return printInit(o, flags.output, cluster)
		},
	}
	flags.add(c, &i.Host)
	f := c.Flags()
	f.StringVar(&i.ClusterName, "cluster-name", "kubernetes", "name of the cluster")
	f.StringVar(&i.Endpoint, "control-plane-endpoint", "",
		"HOST[:PORT] by which the API is reached (default: the virtual IP, or this host's address)")
	f.StringVar(&flags.virtualIP, "virtual-ip", "",
		"ADDRESS[/PREFIX] of the API that control planes give to each other, by VRRP (default: none)")
	f.StringVar(&flags.pods, "pod-cidr", bootstrap.DefaultPodCIDR, "addresses of pods")
	f.StringVar(&flags.services, "service-cidr", bootstrap.DefaultServiceCIDR, "addresses of services")
	f.StringVar(&i.DNSDomain, "dns-domain", bootstrap.DefaultDNSDomain, "domain of services")
	f.StringVar(&i.CNI, "cni", "calico", "network of pods: calico, or none to install one yourself")
	f.StringSliceVar(&i.ExtraSANs, "apiserver-cert-extra-sans", nil, "further names and addresses of the API")
	f.StringVar((*string)(&i.Keys), "key-algorithm", string(certs.ECDSA), "of all keys and certificates: ecdsa (P-256) or rsa (2048 bits)")
	f.BoolVar(&i.Workloads, "workloads", false, "let workloads run on this control plane")
	f.BoolVar(&i.UploadCerts, "upload-certs", false, "let other control planes join: upload what they share, encrypted, for two hours")
	f.DurationVar(&i.TokenTTL, "token-ttl", invite.DefaultTTL, "how long other servers may join with the token; 0 is forever")
	return c
}

// parseVirtualIP wants an IPv4 address; without a prefix its link is told nothing of the network around it, which it knows.
func parseVirtualIP(text string) (netip.Prefix, error) {
	if text == "" {
		return netip.Prefix{}, nil
	}
	if a, err := netip.ParseAddr(text); err == nil && a.Is4() {
		return netip.PrefixFrom(a, a.BitLen()), nil
	}
	p, err := netip.ParsePrefix(text)
	if err != nil || !p.Addr().Is4() {
		return netip.Prefix{}, fault.New("option-invalid", fmt.Sprintf("use --virtual-ip %q", text),
			errors.New("it is not an IPv4 address, with or without a prefix"), "write it as in 10.0.0.100 or 10.0.0.100/24")
	}
	return p, nil
}

// printInit prints what the administrator needs next. The commands hold secrets: they are for the terminal.
func printInit(o *options, output outputFormat, c *server.Cluster) error {
	if output == "json" {
		return json.NewEncoder(o.Stdout).Encode(c)
	}
	if c.Already {
		_, err := fmt.Fprintf(o.Stdout,
			"this server is the first control plane of cluster %q already (node %q, Kubernetes %s): nothing was changed\n",
			c.Name, c.NodeName, c.KubernetesVersion)
		return err
	}
	fmt.Fprintf(o.Stdout, "cluster %q is up: Kubernetes %s, API https://%s\n\n", c.Name, c.KubernetesVersion, c.Endpoint)
	fmt.Fprint(o.Stdout, "The administrator's kubeconfig is /etc/kubernetes/admin.conf:\n  export KUBECONFIG=/etc/kubernetes/admin.conf\n\n")
	if c.NoCNI {
		fmt.Fprint(o.Stdout, "Nodes get ready when you have installed a network for pods (--cni none).\n\n")
	}
	fmt.Fprintf(o.Stdout, "Make another server a worker with:\n  %s\n", c.JoinWorker)
	if c.JoinControlPlane != "" {
		fmt.Fprintf(o.Stdout, "\nMake another server a control plane with:\n  %s\n", c.JoinControlPlane)
	}
	return nil
}

// printChanges prints what is known also when some steps could not be asked: then err says which.
func printChanges(o *options, output outputFormat, changes []engine.Change, err error) error {
	switch {
	case output == "json" && err == nil, output == "json" && len(changes) > 0:
		return errors.Join(json.NewEncoder(o.Stdout).Encode(changes), err)
	case len(changes) == 0 && err == nil:
		_, err = fmt.Fprintln(o.Stdout, "nothing would be changed")
		return err
	}
	for _, c := range changes {
		fmt.Fprintln(o.Stdout, c.Step)
		for _, what := range c.What {
			fmt.Fprintf(o.Stdout, "  %s\n", what)
		}
	}
	return err
}

func newReset(o *options) *cobra.Command {
	var r server.ResetOptions
	var output outputFormat
	c := &cobra.Command{
		Use: "reset", Short: "Take this server out of its cluster, and everything back that was changed on it",
		Long: "Removes the server from its cluster (etcd's member list and the Node first, as long as the cluster answers), stops what\n" +
			"runs, and puts back what was there before, as the journal has it. What slipway did not change stays as it is.",
		Example: "  slipway reset\n  slipway reset --force",
		Args:    cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			var remains []string
			r.Warn = func(text string) { remains = append(remains, text) }
			show, finish := showEvents(o, output)
			err := server.Reset(c.Context(), r, show)
			finish()
			for _, text := range remains {
				fmt.Fprintf(o.Stderr, "warning: %s\n", text)
			}
			if err != nil || output == "json" {
				return err
			}
			_, err = fmt.Fprintln(o.Stdout, "this server is as it was before")
			return err
		},
	}
	c.Flags().DurationVar(&r.Wait, "wait", 5*time.Minute, "how long it may take")
	c.Flags().BoolVar(&r.Force, "force", false, "go on when the cluster does not answer")
	outputFlag(c, &output)
	return c
}
