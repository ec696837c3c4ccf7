package localcluster

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"net/netip"
	"slices"
	"strconv"
	"time"

	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/util/validation"

	"slipway.dev/slipway/bootstrap"
	"slipway.dev/slipway/bootstrap/config"
	"slipway.dev/slipway/bootstrap/settings"
	"slipway.dev/slipway/certs"
	"slipway.dev/slipway/images/registry"
	"slipway.dev/slipway/internal/fault"
	"slipway.dev/slipway/providers/local"
)

// Options say what cluster to launch.
type Options struct {
	Name                   string
	ControlPlanes, Workers int
	Bundle                 string // directory, or reference to a registry; empty: the default one of Version
	Registry               registry.Options
	CPUs                   float64 // processors of each node; 0: all
	Memory                 string  // of each node, as a quantity of Kubernetes; empty: all
	Version                string  // minor or full version; empty: the default
	Egress                 bool
	Subnet                 netip.Prefix // of the machines; zero: the first free one
	PodCIDR, ServiceCIDR   netip.Prefix
	IPv6                   bootstrap.IPv6 // the second networks, or zero
	Publish                []string       // ports of this computer's loopback that lead to NodePorts: [ADDRESS:]PORT:NODEPORT[/PROTOCOL]
	Typha                  bool
	Keys                   certs.Algorithm
	Wait                   time.Duration
	Keep                   bool               // what could not be completed
	From                   string             // the snapshot to make it of, which says most of what is here; empty: none
	Kubeconfig             string             // the file that the cluster's context is merged into
	Images                 []string           // archives of images that all nodes get
	Mirrors                []string           // of registries, [HOST=]URL each; Registry.CA is theirs too
	archives               Archives           // Images, opened
	mirrors                []bootstrap.Mirror // Mirrors, parsed
	DNSDomain              string
	CNI                    string // calico or none
	Mounts                 []Mount
	Roles                  // what nodes of each role register with
	Settings               settings.Settings
	Problems               []error // that whoever read the options has found
	// Origin says where the options come from, for errors; it may be nil.
	Origin *config.Origin
}

// The pool for machines, out of which each cluster takes a /24.
const (
	subnetPool = "10.89.0.0/16"
	subnetBits = 24
)

// maxNodes keeps all machines of a cluster inside its /24.
const maxNodes = 100

// Validate finds all that is wrong with the options, as far as they say it themselves.
func (o Options) Validate() error {
	errs := append([]error{o.checkName()}, o.Problems...)
	bad := o.refuse(&errs)
	if o.ControlPlanes < 1 || o.ControlPlanes%2 == 0 {
		bad("--control-planes", o.ControlPlanes, errors.New("etcd wants an odd number of members"))
	}
	if o.Workers < 0 || o.ControlPlanes+o.Workers > maxNodes {
		bad("--workers", o.Workers, fmt.Errorf("a local cluster has at most %d nodes", maxNodes))
	}
	if o.Keys != certs.ECDSA && o.Keys != certs.RSA {
		bad("--key-algorithm", strconv.Quote(string(o.Keys)), fmt.Errorf("it is %q or %q", certs.ECDSA, certs.RSA))
	}
	o.checkLimits(bad)
	if o.Wait <= 0 {
		bad("--wait", o.Wait, errors.New("it is not a time to wait"))
	}
	return errors.Join(append(errs, o.checkNetwork(), o.checkMounts(), o.checkRoles(), o.checkSettings(o.version()))...)
}

// refuse gives what adds a problem with an option, named as the user has given it.
func (o Options) refuse(errs *[]error) func(flag string, value any, err error) {
	return func(flag string, value any, err error) {
		*errs = append(*errs, fault.New("option-invalid", "use "+o.Origin.Flag(flag, fmt.Sprint(value)), err, "see `slipway up --help`"))
	}
}

// minCPUs is what the quota of a control group can say at least: a millisecond in each period of a hundred. minMemory is less than what
// a control plane alone takes; with so little nothing starts.
const (
	minCPUs   = 0.01
	minMemory = 512 << 20 // bytes
)

func (o Options) checkLimits(bad func(flag string, value any, err error)) {
	if o.CPUs != 0 && !(o.CPUs >= minCPUs && o.CPUs <= math.MaxInt32) { // so that it refuses what is no number too
		bad("--cpus", o.CPUs, fmt.Errorf("it is a number from %v, or 0 for all processors", minCPUs))
	}
	if o.Memory == "" {
		return
	}
	if m, err := resource.ParseQuantity(o.Memory); err != nil || m.Value() < minMemory {
		bad("--memory", strconv.Quote(o.Memory), errors.New("it is an amount of 512Mi at least, as in 4Gi"))
	}
}

// limits takes options that were checked.
func (o Options) limits() local.Limits {
	l := local.Limits{CPUs: o.CPUs}
	if m, err := resource.ParseQuantity(o.Memory); err == nil {
		l.Memory = m.Value()
	}
	return l
}

func (o Options) checkName() error {
	err := CheckName(o.Name)
	var f *fault.Error
	if errors.As(err, &f) {
		f.Op = "use " + o.Origin.Flag("--name", strconv.Quote(o.Name))
	}
	return err
}

func (o Options) checkNetwork() error {
	var errs []error
	bad := o.refuse(&errs)
	if err := checkSubnet(o.Subnet, o.ControlPlanes+o.Workers); err != nil {
		bad("--subnet", o.Subnet, err)
	}
	for _, r := range bootstrap.CheckRanges(o.Subnet, o.PodCIDR, o.ServiceCIDR, o.ControlPlanes+o.Workers) {
		bad(r.Flag, r.Value, r.Err)
	}
	for _, r := range bootstrap.CheckIPv6(pool6(), o.IPv6, o.ControlPlanes+o.Workers) {
		bad(r.Flag, r.Value, r.Err)
	}
	if o.CNI != "calico" && o.CNI != cniNone {
		bad("--cni", strconv.Quote(o.CNI), errors.New("it is calico or none"))
	}
	if why := validation.IsDNS1123Subdomain(o.DNSDomain); len(why) > 0 {
		bad("--dns-domain", strconv.Quote(o.DNSDomain), errors.New("it is not a domain, as in cluster.local"))
	}
	_, wrong := o.ports()
	for _, text := range slices.Sorted(maps.Keys(wrong)) {
		bad("--publish", strconv.Quote(text), wrong[text])
	}
	return errors.Join(errs...)
}

// cniNone leaves the pods' network to the user.
const cniNone = "none"

// checkSubnet wants an address for each node, besides those of the network, the bridge, Services of type LoadBalancer, what control
// planes share, and broadcasts.
func checkSubnet(subnet netip.Prefix, nodes int) error {
	if !subnet.IsValid() {
		return nil
	}
	const network, others = 2, 4
	all := bootstrap.Addresses(subnet)
	room := all - others
	if r := reserved(subnet); r.IsValid() {
		room = all - network - 2*bootstrap.Addresses(r)
	}
	if nodes > room {
		return fmt.Errorf("it has %d addresses, of which nodes can have %d, and these are %d", all, max(room, 0), nodes)
	}
	return nil
}
