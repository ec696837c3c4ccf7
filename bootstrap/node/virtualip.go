package node

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"strconv"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"

	"slipway.dev/slipway/bootstrap"
	"slipway.dev/slipway/bootstrap/engine"
	"slipway.dev/slipway/internal/fault"
)

const (
	keepalivedDir    = kubernetesDir + "/keepalived"
	keepalivedConfig = keepalivedDir + "/keepalived.conf"

	// notedVirtualIP is the note about an address that was not on this host before.
	notedVirtualIP = "virtual-ip"
)

// keepalived.conf(5). All priorities are the same, so nobody takes the address from one who holds it and is well; the check
// lowers that of a control plane whose own API server is not ready, and then one that is well takes it. If none is well, as
// while etcd has no leader, the address stays where it is. One failed check does not move it: the next one, a second
// later, comes before the others' patience ends (three intervals and a little).
const keepalivedText = `global_defs {
	enable_script_security
	script_user root
	vrrp_version 3
	vrrp_garp_master_refresh 30
}

vrrp_script api {
	script "%s"
	interval 1
	timeout 3
	fall 1
	rise 1
	weight -50
	init_fail
}

vrrp_instance api {
	state BACKUP
	interface %s
	virtual_router_id %d
	priority 100
	advert_int 0.5
	virtual_ipaddress {
		%s
	}
	track_script {
		api
	}
}
`

// keepalivedConf is this control plane's.
func (n *builder) keepalivedConf() string {
	check := bootstrap.Program + " node ask-api --server " + n.ownAPI() + " --ca " + caFile
	return fmt.Sprintf(keepalivedText, check, n.Node.VirtualIPInterface, virtualRouter(n.Cluster.VirtualIP.Addr()), n.Cluster.VirtualIP)
}

// virtualRouter is what tells the virtual IPs of one network apart, 1 to 255: as the last byte of the address it is another
// one for each in a network of up to 256. keepalived ignores those that have the same one and another address.
func virtualRouter(a netip.Addr) int {
	if last := int(a.As4()[3]); last > 0 {
		return last
	}
	return 255
}

// keepalived speaks VRRP for this control plane. The capabilities are for the address, for multicast, for the protocol, and for
// taking all groups from the check before it is run, without which keepalived does not run it.
func (n *builder) keepalived() component {
	return component{
		name: "keepalived", cpu: "20m",
		args:         []string{"--dont-fork", "--log-console", "--vrrp", "--use-file=" + keepalivedConfig},
		capabilities: []corev1.Capability{"NET_ADMIN", "NET_BROADCAST", "NET_RAW", "SETGID"},
		mounts: []mount{
			readOnlyDir("config", keepalivedDir), readOnlyFile("program", bootstrap.Program), readOnlyFile("ca", caFile),
		},
	}
}

// hasVirtualIP tells whether this control plane may hold the cluster's virtual IP. When all is taken back, the journal may be
// the only one who knows.
func (n *builder) hasVirtualIP() bool {
	_, noted := n.host.Noted(notedVirtualIP)
	return noted || n.Node.ControlPlane && n.Cluster.VirtualIP.IsValid()
}

// virtualIP has the kubelet run keepalived. A control plane that is not ready yet does not get the address while
// another one is.
func (n *builder) virtualIP(name string, needs ...string) engine.Step {
	list := func() ([]engine.File, error) {
		files, err := n.manifests(n.keepalived())
		return append([]engine.File{{Path: keepalivedConfig, Data: []byte(n.keepalivedConf()), Mode: 0o600}}, files...), err
	}
	return engine.Step{
		Name: name, Needs: needs,
		Check: func(context.Context) ([]string, error) {
			files, err := list()
			return engine.Differing(files), err
		},
		Do: func(context.Context, func(string)) error {
			files, err := list()
			if err != nil {
				return err
			}
			if err := n.noteVirtualIP(name); err != nil {
				return err
			}
			return n.host.WriteFiles(name, files)
		},
		Undo: func(context.Context) error {
			if noted, ok := n.host.Noted(notedVirtualIP); ok {
				return removeVirtualIP(noted)
			}
			return nil
		},
	}
}

// noteVirtualIP says that the address was not on this host before. If it is there now, it was there before, or an earlier
// try has said so.
func (n *builder) noteVirtualIP(step string) error {
	held, err := HoldsVirtualIP(n.Cluster.VirtualIP.Addr())
	if err != nil || held {
		return err
	}
	return n.host.Note(step, notedVirtualIP, n.Cluster.VirtualIP.String())
}

// removeVirtualIP takes the address away that a keepalived which was killed has left.
func removeVirtualIP(noted string) error {
	p, err := netip.ParsePrefix(noted)
	if err != nil {
		return fmt.Errorf("read the note about the virtual IP: %w", err)
	}
	all, err := addressesOf(p.Addr())
	for _, a := range all {
		if gone := netlink.AddrDel(a.link, &a.Addr); gone != nil && !errors.Is(gone, unix.EADDRNOTAVAIL) {
			err = errors.Join(err, fmt.Errorf("remove address %s: %w", a.Addr, gone))
		}
	}
	return err
}

// HoldsVirtualIP tells whether this host has the address now.
func HoldsVirtualIP(a netip.Addr) (bool, error) {
	all, err := addressesOf(a)
	return len(all) > 0, err
}

type addressOn struct {
	netlink.Addr
	link netlink.Link
}

// addressesOf finds the links that have an address: one, or none.
func addressesOf(a netip.Addr) ([]addressOn, error) {
	all, err := netlink.AddrList(nil, netlink.FAMILY_V4)
	if err != nil {
		return nil, fmt.Errorf("list the addresses of this host: %w", err)
	}
	var out []addressOn
	for _, one := range all {
		if !one.IP.Equal(a.AsSlice()) {
			continue
		}
		link, err := netlink.LinkByIndex(one.LinkIndex)
		if err != nil {
			return nil, fmt.Errorf("find the link with address %s: %w", a, err)
		}
		out = append(out, addressOn{one, link})
	}
	return out, nil
}

// releaseTime is how long keepalived may take to end. It takes a moment, and then the address goes at once to another
// control plane; what has not ended by then is killed later.
const releaseTime = 10 * time.Second

// ReleaseVirtualIP lets keepalived end in good order. It is no failure if it does not: others notice that it is silent.
func ReleaseVirtualIP(ctx context.Context, c bootstrap.Cluster) error {
	if err := os.Remove(manifestOf("keepalived")); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("stop keepalived: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, releaseTime)
	defer cancel()
	tick := time.NewTicker(pollAPI)
	defer tick.Stop()
	for {
		if held, err := HoldsVirtualIP(c.VirtualIP.Addr()); err != nil || !held {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// virtualIPReady waits until the API answers at the address, whoever holds it. It is no step where there is none.
func (n *builder) virtualIPReady(name string, needs ...string) []engine.Step {
	if !n.Cluster.VirtualIP.IsValid() {
		return nil
	}
	server := net.JoinHostPort(n.Cluster.VirtualIP.Addr().String(), strconv.Itoa(bootstrap.APIPort))
	return []engine.Step{{
		Name: name, Needs: needs,
		Check: func(ctx context.Context) ([]string, error) {
			if err := AskServer(ctx, server); err != nil {
				return []string{"wait until the API answers at " + server}, nil //nolint:nilerr // then there is something to wait for
			}
			return nil, nil
		},
		Do: func(ctx context.Context, progress func(string)) error {
			err := waitAPI(ctx, func(ctx context.Context) error { return AskServer(ctx, server) }, progress)
			if err != nil {
				return fault.New("virtual-ip-silent", "reach the API at its virtual IP "+server, err,
					"look at the log of keepalived below /var/log/pods; run the same command again to go on")
			}
			return nil
		},
	}}
}
