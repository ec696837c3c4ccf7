package node

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"slices"
	"strconv"

	"slipway.dev/slipway/bootstrap"
	"slipway.dev/slipway/bootstrap/balancer"
	"slipway.dev/slipway/bootstrap/cri"
	"slipway.dev/slipway/bootstrap/engine"
)

// The load balancer's unit, and the file with the servers that it knew last.
const (
	balancerUnit    = bootstrap.UnitDir + "/slipway-balancer.service"
	BalancerServers = "/var/lib/slipway/api-servers.json"
)

const balancerUnitText = `[Unit]
Description=Load balancer for the API of the cluster
Documentation=https://slipway.dev/slipway
After=network.target
StartLimitIntervalSec=0

[Service]
Type=notify
ExecStart=` + bootstrap.Program + ` node balance --listen %s --servers ` + BalancerServers +
	` --kubeconfig ` + kubeletKubeconfig + ` --ca ` + caFile + `%s
Restart=always
RestartSec=1
OOMScoreAdjust=-998

[Install]
WantedBy=multi-user.target
`

// program puts this very program where the units of the node look for it.
func (n *builder) program(name string, needs ...string) engine.Step {
	file := func() ([]engine.File, error) {
		self, err := os.Executable()
		if err != nil {
			return nil, fmt.Errorf("find this program: %w", err)
		}
		data, err := os.ReadFile(self)
		if err != nil {
			return nil, fmt.Errorf("read this program: %w", err)
		}
		return []engine.File{{Path: bootstrap.Program, Data: data, Mode: 0o755}}, nil
	}
	return engine.Step{
		Name: name, Needs: needs,
		Check: func(context.Context) ([]string, error) {
			if runsFrom(bootstrap.Program) {
				return nil, nil
			}
			files, err := file()
			if err != nil {
				return nil, err
			}
			if there, err := os.ReadFile(bootstrap.Program); err == nil && bytes.Equal(there, files[0].Data) {
				return nil, nil // whatever its mode is
			}
			return engine.Differing(files), nil
		},
		Do: func(context.Context, func(string)) error {
			files, err := file()
			if err != nil {
				return err
			}
			return n.host.WriteFiles(name, files)
		},
	}
}

// runsFrom tells whether a file is this very program, which is large.
func runsFrom(path string) bool {
	self, err := os.Stat("/proc/self/exe")
	if err != nil {
		return false
	}
	there, err := os.Stat(path)
	return err == nil && os.SameFile(self, there)
}

// RunsPod tells whether the kubelet of this host has begun a pod of the control plane since the boot. If nobody answers, it has not.
func RunsPod(ctx context.Context, name string) bool {
	pods, err := cri.OpenPods(containerdSocket)
	if err != nil {
		return false
	}
	defer pods.Close()
	runs, err := pods.Runs(ctx, name)
	return err == nil && runs
}

// loadBalancer runs the load balancer, which knows one server to begin with and learns the others from that.
func (n *builder) loadBalancer(name string, needs ...string) engine.Step {
	const unit = "slipway-balancer.service"
	s := n.service(name, engine.Unit{Name: unit, Files: []string{balancerUnit, bootstrap.Program}}, nil, func() ([]engine.File, error) {
		own := ""
		if n.Node.ControlPlane {
			own = " --prefer " + n.ownAPI() + " --await kube-apiserver-" + n.Node.Name
		}
		text := fmt.Sprintf(balancerUnitText, net.JoinHostPort(loopback, strconv.Itoa(bootstrap.BalancerPort)), own)
		return []engine.File{{Path: balancerUnit, Data: []byte(text), Mode: 0o644}}, nil
	}, needs...)
	check, do := s.Check, s.Do
	s.Check = func(ctx context.Context) ([]string, error) {
		if _, err := balancer.ReadServers(BalancerServers); err != nil {
			return []string{BalancerServers, "start " + unit}, nil //nolint:nilerr // whatever is wrong with it, it is made anew
		}
		return check(ctx)
	}
	s.Do = func(ctx context.Context, progress func(string)) error {
		if err := n.host.Keep(name, BalancerServers); err != nil {
			return err
		}
		if _, err := balancer.ReadServers(BalancerServers); err != nil {
			if err := balancer.WriteServers(BalancerServers, n.firstServers()); err != nil {
				return err
			}
		}
		return do(ctx, progress)
	}
	return s
}

func (n *builder) ownAPI() string {
	return net.JoinHostPort(n.Node.Address.String(), strconv.Itoa(bootstrap.APIPort))
}

// firstServers are those that are known before the cluster has been asked.
func (n *builder) firstServers() []string {
	first := n.Cluster.Endpoint
	if n.Node.Init {
		first = n.ownAPI() // the endpoint may not lead anywhere yet
	}
	servers := append(slices.Clone(n.Servers), first)
	slices.Sort(servers)
	return slices.Compact(servers)
}
