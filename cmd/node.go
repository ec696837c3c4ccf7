package cmd

import (
	"context"
	"encoding/json"
	"fmt"
	"path/filepath"
	"sync"

	"github.com/coreos/go-systemd/v22/daemon"
	"github.com/spf13/cobra"

	"slipway.dev/slipway/bootstrap"
	"slipway.dev/slipway/bootstrap/balancer"
	"slipway.dev/slipway/bootstrap/engine"
	"slipway.dev/slipway/bootstrap/node"
	"slipway.dev/slipway/bootstrap/server"
	"slipway.dev/slipway/certs"
)

// addNodeInternals adds the commands that Slipway runs on a host; nobody types them.
func addNodeInternals(c *cobra.Command, o *options) {
	for _, one := range []*cobra.Command{
		newNodeConverge(o), newNodeCertificates(o), newNodeSign(o), newNodeLeave(o), newNodeLogEnd(o), newNodeEndPods(),
		newNodeBalance(o), newNodeControl(o), newNodeAskAPI(),
	} {
		one.Hidden = true
		c.AddCommand(one)
	}
}

func newNodeConverge(o *options) *cobra.Command {
	return &cobra.Command{
		Use: "converge", Short: "Converge this host to the specification on standard input", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			spec, err := bootstrap.ReadSpec(o.Stdin)
			if err != nil {
				return err
			}
			return node.Converge(c.Context(), spec, jsonEvents(o))
		},
	}
}

func newNodeCertificates(o *options) *cobra.Command {
	return &cobra.Command{
		Use: "certificates", Short: "Print when this host's certificates expire", Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			list, err := certs.Expiry(certificatePaths()...)
			if err != nil {
				return err
			}
			return json.NewEncoder(o.Stdout).Encode(list)
		},
	}
}

// newNodeSign answers with secrets.
func newNodeSign(o *options) *cobra.Command {
	return &cobra.Command{
		Use: "sign", Short: "Make specifications for new nodes, which standard input names", Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			var r server.Request
			if err := json.NewDecoder(o.Stdin).Decode(&r); err != nil {
				return fmt.Errorf("read the request: %w", err)
			}
			specs, err := server.Sign(r)
			if err != nil {
				return err
			}
			return json.NewEncoder(o.Stdout).Encode(specs)
		},
	}
}

// newNodeLeave is for a host that ends with its node.
func newNodeLeave(o *options) *cobra.Command {
	var gone bool
	c := &cobra.Command{
		Use: "leave", Short: "Take the node that standard input specifies out of its cluster", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			spec, err := bootstrap.ReadSpec(o.Stdin)
			if err != nil {
				return err
			}
			if gone {
				return server.Forget(c.Context(), spec, jsonEvents(o))
			}
			return server.Leave(c.Context(), spec, func(s string) { fmt.Fprintln(o.Stderr, s) }, jsonEvents(o))
		},
	}
	c.Flags().BoolVar(&gone, "gone", false, "it is another host, which is gone")
	return c
}

// newNodeLogEnd is asked when a step has failed, or was not done in time.
func newNodeLogEnd(o *options) *cobra.Command {
	return &cobra.Command{
		Use: "log-end STEP", Short: "Print the end of the log that says why a step does not end", Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			return json.NewEncoder(o.Stdout).Encode(node.LogEnd(c.Context(), args[0]))
		},
	}
}

// newNodeEndPods is run by systemd at the shutdown of a node.
func newNodeEndPods() *cobra.Command {
	return &cobra.Command{
		Use: "end-pods", Short: "End the pods of the cluster's DNS server as soon as the kubelet has ended", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return node.EndPods(c.Context()) },
	}
}

// newNodeBalance runs on every node as a unit of systemd.
func newNodeBalance(o *options) *cobra.Command {
	var b balancer.Config
	var await string
	c := &cobra.Command{
		Use: "balance", Short: "Run the load balancer for the API", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			b.Report = func(e balancer.Event) { fmt.Fprintln(o.Stdout, e.Kind, e.Server, e.Reason) }
			if await != "" {
				b.Await = func(ctx context.Context) bool { return node.RunsPod(ctx, await) }
			}
			b.Ready = func() { _, _ = daemon.SdNotify(true, daemon.SdNotifyReady) } // without systemd nobody waits for it
			return balancer.Run(c.Context(), b)
		},
	}
	f := c.Flags()
	f.StringVar(&b.Listen, "listen", "", "address and port")
	f.StringVar(&b.File, "servers", "", "file with the servers known last")
	f.StringVar(&b.Kubeconfig, "kubeconfig", "", "with which the list of servers is followed")
	f.StringVar(&b.CA, "ca", "", "authority of the servers' certificates")
	f.StringVar(&b.Prefer, "prefer", "", "server to take as long as it is healthy")
	f.StringVar(&await, "await", "", "pod of the first server: from when the kubelet has begun it, clients wait for that server")
	return c
}

// newNodeAskAPI is run by keepalived, again and again.
func newNodeAskAPI() *cobra.Command {
	var server, ca string
	c := &cobra.Command{
		Use: "ask-api", Short: "Fail unless an API server is ready", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return balancer.Ask(c.Context(), server, ca) },
	}
	c.Flags().StringVar(&server, "server", "", "host and port")
	c.Flags().StringVar(&ca, "ca", "", "authority of the server's certificate")
	return c
}

// certificatePaths are the files and directories with certificates that this host has.
func certificatePaths() []string {
	var out []string
	for _, pattern := range []string{"/etc/kubernetes/pki/*.crt", "/etc/kubernetes/pki/etcd/*.crt", "/etc/kubernetes/*.conf",
		"/var/lib/kubelet/pki/kubelet.crt",
		"/var/lib/kubelet/pki/kubelet-client-current.pem"} {
		found, _ := filepath.Glob(pattern) // the patterns are well-formed
		out = append(out, found...)
	}
	return out
}

// jsonEvents prints one event a line.
func jsonEvents(o *options) engine.Report {
	var mu sync.Mutex
	enc := json.NewEncoder(o.Stdout)
	return func(e engine.Event) {
		mu.Lock()
		defer mu.Unlock()
		_ = enc.Encode(e) // a reader that went away must not stop the host from converging
	}
}
