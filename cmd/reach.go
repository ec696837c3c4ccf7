package cmd

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"

	"github.com/spf13/cobra"

	"slipway.dev/slipway/cmd/localcluster"
	"slipway.dev/slipway/internal/fault"
	"slipway.dev/slipway/providers/local"
)

// onCluster opens the cluster that the first argument names; run gets the others.
func onCluster(o *options, run func(context.Context, *localcluster.Cluster, []string) error) func(*cobra.Command, []string) error {
	return func(c *cobra.Command, args []string) error {
		cluster, err := localcluster.Open(o.dirs(), args[0])
		if err != nil {
			return err
		}
		if cluster.Bare {
			return fault.New("machines-bare", fmt.Sprintf("reach cluster %q", args[0]), errors.New("there are only machines of that name"),
				"use `slipway ssh`, `slipway logs` or `slipway down`, or make a cluster on them with `slipway init`")
		}
		return run(c.Context(), cluster, args[1:])
	}
}

// onMachine finds the running machine that the second argument names, too.
func onMachine(
	o *options, run func(context.Context, *localcluster.Cluster, *local.Machine, []string) error,
) func(*cobra.Command, []string) error {
	return func(c *cobra.Command, args []string) error {
		cluster, err := localcluster.Open(o.dirs(), args[0])
		if err != nil {
			return err
		}
		m, err := cluster.Machine(c.Context(), args[1])
		if err != nil {
			return err
		}
		return run(c.Context(), cluster, m, args[2:])
	}
}

func newKubeconfig(o *options) *cobra.Command {
	return &cobra.Command{
		Use: "kubeconfig NAME", Short: "Print the administrator's kubeconfig of a cluster", Args: cobra.ExactArgs(1),
		Example: "  slipway kubeconfig dev > dev.conf",
		RunE: onCluster(o, func(_ context.Context, cluster *localcluster.Cluster, _ []string) error {
			data, err := cluster.Kubeconfig()
			if err != nil {
				return err
			}
			_, err = o.Stdout.Write(data)
			return err
		}),
	}
}

func newKubectl(o *options) *cobra.Command {
	return &cobra.Command{
		Use: "kubectl NAME -- ARGS...", Short: "Run the cluster's own kubectl on it", Args: cobra.MinimumNArgs(1),
		Example: "  slipway kubectl dev -- get nodes -o wide",
		RunE: onCluster(o, func(ctx context.Context, cluster *localcluster.Cluster, args []string) error {
			if err := cluster.AwakeNow(ctx); err != nil {
				return err
			}
			k := exec.CommandContext(ctx, cluster.Kubectl(), args...) //nolint:gosec // the bundle's own, on the user's behalf
			k.Stdin, k.Stdout, k.Stderr = o.Stdin, o.Stdout, o.Stderr
			k.Env = append(os.Environ(), "KUBECONFIG="+cluster.KubeconfigFile())
			k.Cancel = func() error { return k.Process.Signal(os.Interrupt) }
			return onBehalf(k.Run())
		}),
	}
}

func newSSH(o *options) *cobra.Command {
	return &cobra.Command{
		Use: "ssh NAME NODE [-- COMMAND...]", Short: "Log in to a machine, or run a command there", Args: cobra.MinimumNArgs(2),
		Example: "  slipway ssh dev dev-cp-1\n  slipway ssh dev dev-cp-1 -- systemctl status kubelet",
		RunE: onMachine(o, func(ctx context.Context, cluster *localcluster.Cluster, m *local.Machine, args []string) error {
			return sshTo(ctx, o, cluster, m, args)
		}),
	}
}

func newLogs(o *options) *cobra.Command {
	var export string
	one := onMachine(o, func(ctx context.Context, _ *localcluster.Cluster, m *local.Machine, args []string) error {
		return onBehalf(m.Run(ctx, local.Command{Args: logCommand(args), Stdout: o.Stdout, Stderr: o.Stderr}))
	})
	c := &cobra.Command{
		Use:   "logs NAME NODE [COMPONENT] | NAME --export DIR",
		Short: "Print the log of a node or one of its components, or collect all for a report",
		Long: "Without COMPONENT, the machine's whole journal. COMPONENT is kubelet, containerd or another systemd unit, or a\n" +
			"container of the control plane: etcd, kube-apiserver, kube-controller-manager, kube-scheduler.\n\n" +
			"With --export, makes the directory DIR with all that a bug report needs: logs of all nodes and pods, what `slipway doctor`\n" +
			"finds, the state of the network, and objects. Secrets are left out; read it all the same before you publish it.",
		Example: "  slipway logs dev dev-cp-1 kubelet\n  slipway logs dev --export dev-report",
		Args: func(c *cobra.Command, args []string) error {
			if export != "" {
				return cobra.ExactArgs(1)(c, args)
			}
			return cobra.RangeArgs(2, 3)(c, args)
		},
		RunE: func(c *cobra.Command, args []string) error {
			if export == "" {
				return one(c, args)
			}
			cluster, err := localcluster.Open(o.dirs(), args[0])
			if err == nil {
				err = cluster.Export(c.Context(), export, version)
			}
			return err
		},
	}
	c.Flags().StringVar(&export, "export", "", "directory to make")
	return c
}

// componentLogs prints the logs of the containers of that name on this machine (the kubelet's layout below /var/log/pods),
// or else those of a unit.
const componentLogs = `
set -- "$1" /var/log/pods/*/"$1"/*.log
if [ -e "$2" ]; then shift; exec cat "$@"; fi
if systemctl cat "$1" >/dev/null 2>&1; then exec journalctl --no-pager --no-hostname --unit "$1"; fi
echo "nothing on this machine is called $1; it has the units kubelet and containerd, and the containers" >&2
for c in /var/log/pods/*/*; do echo "  ${c##*/}"; done | sort -u >&2
exit 1`

func logCommand(component []string) []string {
	if len(component) == 0 {
		return []string{"journalctl", "--no-pager", "--no-hostname"}
	}
	return []string{"sh", "-c", componentLogs, "sh", component[0]}
}
