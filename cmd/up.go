package cmd

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"slipway.dev/slipway/bootstrap"
	"slipway.dev/slipway/certs"
	"slipway.dev/slipway/cmd/localcluster"
)

func (o *options) dirs() localcluster.Dirs {
	return localcluster.Dirs{Cache: o.CacheDir, State: o.StateDir, Run: o.RunDir}
}

// mirrorHelp explains --registry-mirror.
const mirrorHelp = "--registry-mirror URL lets pods use the images of that registry, by its own name (HOST:PORT/IMAGE);\n" +
	"HOST=URL has it asked before the registry HOST (docker.io, quay.io; * for all) for the images of that one.\n" +
	"localhost, 127.0.0.1 and names that end in .localhost mean this computer on nodes too, also for a registry that listens on\n" +
	"127.0.0.1 only and with --egress=false. Over https nodes trust the authorities in --registry-ca besides the system's."

func newUp(o *options) *cobra.Command {
	var u localcluster.Options
	var output outputFormat
	var flags upFlags
	c := &cobra.Command{
		Use:   "up",
		Short: "Launch a cluster on this computer",
		Long: "Makes machines on this computer (containers with systemd, on a bridge of their own), launches a cluster on them and\n" +
			"merges its kubeconfig into $KUBECONFIG or ~/.kube/config as context slipway-NAME. Needs root. Running it again\n" +
			"completes a launch that was interrupted, starts machines that were stopped, and changes nothing on a cluster that is up\n" +
			"but loading what nodes lack of the files with --image.\n\n" +
			"If it fails, what it began is removed, unless --keep is given. What ^C interrupts is kept, and so is what was there before.\n\n" +
			"With --config the settings come from a file, which has more of them than there are flags: feature gates, arguments of the\n" +
			"control plane, the kubelet's configuration, mounts, labels and taints. `slipway config init` writes one with all.\n" +
			"With --from the nodes, their data and nearly all settings come from a snapshot; keys and credentials are new.\n\n" + mirrorHelp,
		Example: "  slipway up\n  slipway up --name ci --workers 2 --egress=false -o json\n" +
			"  slipway up --name ci --keep || slipway logs ci --export ci-logs\n" +
			"  slipway up --image app.tar --image db.tar\n" +
			"  slipway up --workers 2 --cpus 1 --memory 2Gi                       # of each node\n" +
			"  slipway up --registry-mirror http://localhost:5000                 # image: localhost:5000/app:1\n" +
			"  slipway up --registry-mirror docker.io=http://localhost:5000       # image: nginx\n" +
			"  slipway up --registry-mirror https://registry.localhost:5001 --registry-ca ca.crt\n" +
			"  slipway up --pod-cidr 10.244.0.0/16,fd00:10:244::/56 --service-cidr 10.96.0.0/16,fd00:10:96::/112\n" +
			"  slipway up --publish 8080:30080 --publish 127.0.0.1:5353:30053/udp\n" +
			"  slipway up --from seeded --name twin\n" +
			"  slipway config init dev.yaml && slipway up --config dev.yaml" + exampleOf("dev.yaml", "docs/config.md", upExample),
		Args:    cobra.NoArgs,
		PreRunE: func(c *cobra.Command, _ []string) error { return flags.readFile(c, &u) },
		RunE: func(c *cobra.Command, _ []string) error {
			flags.complete(&u)
			u.Kubeconfig = kubeconfigPath()
			show, finish := showEvents(o, output)
			start := time.Now()
			cluster, err := localcluster.Up(c.Context(), o.dirs(), u, show)
			finish()
			if err != nil {
				return err
			}
			noteUnfinished(o, cluster)
			if output == "json" {
				return nil // the events said it all
			}
			if cluster.Cluster.NoCNI {
				fmt.Fprint(o.Stderr, "nodes get ready when you have installed a network for pods (--cni none)\n")
			}
			_, err = fmt.Fprintf(o.Stdout, "cluster %q is up after %.1f s: Kubernetes %s, nodes: %d, context %s\n", cluster.Name(),
				time.Since(start).Seconds(), cluster.Cluster.KubernetesVersion, len(cluster.Nodes), cluster.Context())
			return err
		},
	}
	flags.add(c, &u)
	outputFlag(c, &output)
	return c
}

func (f *upFlags) add(c *cobra.Command, u *localcluster.Options) {
	fs := c.Flags()
	fs.StringVar(&f.config, "config", "", "file with these settings and more; flags count before it")
	fs.StringVar(&u.Name, "name", "dev", "name of the cluster")
	fs.IntVar(&u.ControlPlanes, "control-planes", 1, "number of control planes, odd")
	fs.IntVar(&u.Workers, "workers", 0, "number of workers; without any, control planes take workloads")
	fs.StringVar(&u.Version, "kubernetes-version", "", "Kubernetes version or minor (default: the newest supported)")
	fs.StringVar(&u.Bundle, "bundle", "", bundleUsage+" (default: the built one of that version)")
	fs.Float64Var(&u.CPUs, "cpus", 0, "processors that each node may use, as in 1.5; 0 for all there are")
	fs.StringVar(&u.Memory, "memory", "", "memory that each node may use, as in 4Gi (default: all there is)")
	registryFlags(c, &u.Registry)
	fs.StringArrayVar(&u.Mirrors, "registry-mirror", nil, "registry that nodes pull from, as [HOST=]URL; may be repeated, see above")
	fs.StringArrayVar(&u.Images, "image", nil, "file with images for all nodes, in an archive as for images load; may be repeated")
	fs.BoolVar(&u.Egress, "egress", true, "let the cluster reach beyond this computer")
	fs.DurationVar(&u.Wait, "wait", 2*time.Minute, "how long to wait until everything is ready")
	fs.BoolVar(&u.Keep, "keep", false, "keep what this run began if it fails or is not ready in time")
	fs.StringVar((*string)(&u.Keys), "key-algorithm", string(certs.ECDSA), "of all keys and certificates: ecdsa (P-256) or rsa (2048 bits)")
	fs.BoolVar(&u.Typha, "typha", false, "put Calico's Typha between the nodes and the API server")
	fs.StringVar(&f.subnet, "subnet", "", "subnet of the machines, for example 10.89.7.0/24 (default: the first free one)")
	fs.StringVar(&f.pods, "pod-cidr", bootstrap.DefaultPodCIDR, "addresses of pods: IPV4 or, for both families, IPV4,IPV6")
	fs.StringVar(&f.services, "service-cidr", bootstrap.DefaultServiceCIDR, "addresses of services, the same way")
	fs.StringVar(&u.DNSDomain, "dns-domain", bootstrap.DefaultDNSDomain, "domain of services")
	fs.StringVar(&u.CNI, "cni", "calico", "network of pods: calico, or none to install one yourself; nodes are not waited for then")
	fs.StringSliceVar(&u.Publish, "publish", nil,
		"[127.0.0.1:]PORT:NODEPORT[/udp]: a port of this computer's loopback (IPv4) that leads to a NodePort; may be repeated")
	fs.StringVar(&u.From, "from", "", "snapshot to make the cluster of, as SNAP or CLUSTER/SNAP: its nodes and data, with keys of its own")
	for _, given := range []string{
		"control-planes", "workers", "kubernetes-version", "bundle", "key-algorithm", "typha", "pod-cidr", "service-cidr",
		"config", "registry-mirror", "dns-domain", "cni", "cpus", "memory",
	} {
		c.MarkFlagsMutuallyExclusive("from", given) // the snapshot has it
	}
}

func newDown(o *options) *cobra.Command {
	return &cobra.Command{
		Use:     "down NAME",
		Short:   "Remove a cluster of this computer and every trace of it",
		Example: "  slipway down dev",
		Args:    cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			if err := localcluster.Down(c.Context(), o.dirs(), args[0], kubeconfigPath()); err != nil {
				return err
			}
			kept, err := localcluster.Snapshots(o.dirs(), args[0])
			if err != nil {
				return err
			}
			also := ""
			if len(kept) > 0 {
				also = fmt.Sprintf("; its snapshots stay: %d, see `slipway snapshot list %s`", len(kept), args[0])
			}
			_, err = fmt.Fprintf(o.Stderr, "cluster %q is gone%s\n", args[0], also)
			return err
		},
	}
}
