package localcluster

import (
	"fmt"
	"math"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"slipway.dev/slipway/bootstrap"
	"slipway.dev/slipway/certs"
	"slipway.dev/slipway/images"
	"slipway.dev/slipway/internal/fault"
)

func goodOptions() Options {
	return Options{
		Name: "a", ControlPlanes: 1, Wait: time.Minute, Keys: certs.ECDSA, CNI: "calico", DNSDomain: "cluster.local",
		PodCIDR: netip.MustParsePrefix(bootstrap.DefaultPodCIDR), ServiceCIDR: netip.MustParsePrefix(bootstrap.DefaultServiceCIDR),
	}
}

func TestValidate(t *testing.T) {
	if err := goodOptions().Validate(); err != nil {
		t.Errorf("the defaults: %v", err)
	}
	for _, tt := range []struct {
		name   string
		change func(*Options)
		want   []string // identifiers
	}{
		{"name", func(o *Options) { o.Name = "Not_A.Name" }, []string{"name-invalid"}},
		{"empty name", func(o *Options) { o.Name = "" }, []string{"name-invalid"}},
		{"name out of the state directory", func(o *Options) { o.Name = "../a" }, []string{"name-invalid"}},
		{"no control plane", func(o *Options) { o.ControlPlanes = 0 }, []string{"option-invalid"}},
		{"even control planes", func(o *Options) { o.ControlPlanes = 2 }, []string{"option-invalid"}},
		{"no processor", func(o *Options) { o.CPUs = 0.001 }, []string{"option-invalid"}},
		{"no number", func(o *Options) { o.CPUs = math.NaN() }, []string{"option-invalid"}},
		{"no memory", func(o *Options) { o.Memory = "100Mi" }, []string{"option-invalid"}},
		{"no amount", func(o *Options) { o.Memory = "much" }, []string{"option-invalid"}},
		{"limits", func(o *Options) { o.CPUs, o.Memory = 0.5, "2Gi" }, nil},
		{"negative workers", func(o *Options) { o.Workers = -1 }, []string{"option-invalid"}},
		{"too many nodes", func(o *Options) { o.Workers = 100 }, []string{"option-invalid"}},
		{"no time", func(o *Options) { o.Wait = 0 }, []string{"option-invalid"}},
		{"unknown keys", func(o *Options) { o.Keys = "dsa" }, []string{"option-invalid"}},
		{"pods and services overlap", func(o *Options) { o.ServiceCIDR = netip.MustParsePrefix("10.244.3.0/24") }, []string{"option-invalid"}},
		{"nodes and pods overlap", func(o *Options) { o.Subnet = netip.MustParsePrefix("10.244.3.0/24") }, []string{"option-invalid"}},
		{"few services", func(o *Options) { o.ServiceCIDR = netip.MustParsePrefix("10.96.0.0/29") }, []string{"option-invalid"}},
		{"no services", func(o *Options) { o.ServiceCIDR = netip.Prefix{} }, []string{"option-invalid"}},
		{"no pods", func(o *Options) { o.PodCIDR = netip.Prefix{} }, []string{"option-invalid"}},
		{"few nodes", func(o *Options) { o.Subnet, o.Workers = netip.MustParsePrefix("10.1.0.0/29"), 5 }, []string{"option-invalid"}},
		{"ports", func(o *Options) { o.Publish = []string{"80:80", "80:30080", "80:30081", "x"} },
			[]string{"option-invalid", "option-invalid", "option-invalid"}},
		{"all at once", func(o *Options) { o.Name, o.ControlPlanes = "-", 4 }, []string{"name-invalid", "option-invalid"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			o := goodOptions()
			tt.change(&o)
			var got []string
			for _, f := range fault.All(o.Validate()) {
				got = append(got, f.ID)
				if f.Next == "" {
					t.Errorf("%v has no advice", f)
				}
			}
			if !slices.Equal(got, tt.want) {
				t.Errorf("faults %q, want %q", got, tt.want)
			}
		})
	}
}

func TestNameServers(t *testing.T) {
	path := filepath.Join(t.TempDir(), "resolv.conf")
	text := "# comment\nsearch example.com\nnameserver 127.0.0.53\nnameserver ::1\nnameserver 2001:db8::1\nnameserver 192.0.2.53\n" +
		"nameserver fe80::1%eth0\nnameserver nonsense\nnameserver\noptions edns0\nnameserver 192.0.2.54\n"
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if got, want := nameServers(path), "[192.0.2.53 192.0.2.54]"; fmt.Sprint(got) != want {
		t.Errorf("got %v, want %v", got, want)
	}
	if got := nameServers(filepath.Join(t.TempDir(), "none")); got != nil {
		t.Errorf("without a file: %v", got)
	}
}

// TestNewRecord: the nodes' names and addresses, which kubeconfigs, certificates and tests rely on.
func TestNewRecord(t *testing.T) {
	o := goodOptions()
	o.ControlPlanes, o.Workers, o.Subnet = 3, 1, netip.MustParsePrefix("10.89.7.0/24")
	o.Publish = []string{"8080:30080"}
	r := newRecord(o, &images.Bundle{}, &images.Unpacked{}, "/self")
	var got []string
	for _, n := range r.Nodes {
		got = append(got, fmt.Sprintf("%s %v cp=%v init=%v", n.Name, n.Address, n.ControlPlane, n.Init))
	}
	want := "a-cp-1 10.89.7.2 cp=true init=true, a-cp-2 10.89.7.3 cp=true init=false, " +
		"a-cp-3 10.89.7.4 cp=true init=false, a-worker-1 10.89.7.5 cp=false init=false"
	if s := strings.Join(got, ", "); s != want {
		t.Errorf("nodes %s, want %s", s, want)
	}
	if r.Cluster.Endpoint != "10.89.7.254:6443" || r.Cluster.VirtualIP != netip.MustParsePrefix("10.89.7.254/24") || len(r.Cluster.ControlPlanes) != 3 || r.Cluster.UpstreamDNS {
		t.Errorf("cluster %+v", r.Cluster)
	}
	if n := r.Network; n.Front.String() != "10.89.7.254" || n.Behind != r.Cluster.LoadBalancers || len(n.Ports) != 1 {
		t.Errorf("network %+v", n)
	}
}

// TestSameReference: what a tag meant when the cluster was made it goes on to mean, so no registry is asked.
func TestSameReference(t *testing.T) {
	const tag, hash = "oci://registry:5000/bundle:v1", "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
	d := Dirs{Cache: "/cache"}
	o := goodOptions()
	o.Bundle = tag
	made := &Cluster{dirs: d}
	made.Bundle, made.Asked, made.Keys = "/cache/bundles/"+strings.Replace(hash, ":", "-", 1), askedRef(o), o.Keys
	made.Cluster.ControlPlanes = []bootstrap.Member{{}}
	made.Cluster.PodCIDR, made.Cluster.ServiceCIDR, made.Cluster.DNSDomain = o.PodCIDR, o.ServiceCIDR, o.DNSDomain
	for bundle, same := range map[string]bool{
		tag: true, "oci://other/name@" + hash: true, made.Bundle: true, // the digest is the bundle, wherever it comes from
		"oci://registry:5000/bundle:v2": false, "oci://registry:5000/bundle@" + strings.Replace(hash, "e3", "00", 1): false, "/b": false,
	} {
		o.Bundle = bundle
		if err := made.same(o); (err == nil) != same {
			t.Errorf("%s: %v", bundle, err)
		}
	}
}
