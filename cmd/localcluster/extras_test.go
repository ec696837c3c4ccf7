package localcluster

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"reflect"
	"strings"
	"testing"

	"slipway.dev/slipway/bootstrap"
	"slipway.dev/slipway/bootstrap/settings"
	"slipway.dev/slipway/images"
	"slipway.dev/slipway/internal/fault"
	"slipway.dev/slipway/providers/local"
)

func fullOptions() Options {
	o := goodOptions()
	o.Workers, o.Subnet, o.Bundle, o.DNSDomain, o.CNI = 1, netip.MustParsePrefix("10.89.7.0/24"), "/b", "a.example", cniNone
	o.Mounts = []Mount{{HostPath: "/etc/passwd", NodePath: "/mnt/a"}, {HostPath: "/srv", NodePath: "/mnt/b", ReadOnly: true, Role: workerRole}}
	o.Worker = Role{Labels: map[string]string{"a": "b"}, Taints: []bootstrap.Taint{{Key: "k", Effect: "NoSchedule"}}}
	o.Settings = settings.Settings{
		FeatureGates: map[string]bool{"AllBeta": true}, APIServer: map[string]string{"v": "2"}, ControllerManager: map[string]string{"v": "2"},
		Scheduler: map[string]string{"v": "2"}, Kubelet: map[string]any{"maxPods": 5, "evictionHard": map[string]any{"a": "b"}},
	}
	return o
}

// TestDiffers: the same file is the same cluster, also when its record was read from disk, and each change is named.
func TestDiffers(t *testing.T) {
	o := fullOptions()
	text, err := json.Marshal(newRecord(o, &images.Bundle{}, &images.Unpacked{}, "/self"))
	if err != nil {
		t.Fatal(err)
	}
	c := &Cluster{dirs: Dirs{Cache: "/cache"}}
	if err := json.Unmarshal(text, &c.Record); err != nil {
		t.Fatal(err)
	}
	c.Asked = o.Bundle // it has no bundle
	if err := c.same(o); err != nil {
		t.Errorf("the same options: %v", err)
	}
	for what, change := range map[string]func(*Options){
		"DNS domain":                          func(o *Options) { o.DNSDomain = "x" },
		"CNI none":                            func(o *Options) { o.CNI = "calico" },
		"mounts":                              func(o *Options) { o.Mounts[1].ReadOnly = false },
		"feature gates":                       func(o *Options) { o.Settings.FeatureGates["AllBeta"] = false },
		"arguments of the API server":         func(o *Options) { o.Settings.APIServer["v"] = "3" },
		"arguments of the controller manager": func(o *Options) { o.Settings.ControllerManager = nil },
		"arguments of the scheduler":          func(o *Options) { o.Settings.Scheduler["w"] = "" },
		"kubelet settings":                    func(o *Options) { o.Settings.Kubelet["maxPods"] = 6 },
		"labels of role worker":               func(o *Options) { o.Worker.Labels["a"] = "c" },
		"taints of role worker":               func(o *Options) { o.Worker.Taints = nil },
		"labels of role control-plane":        func(o *Options) { o.ControlPlane.Labels = map[string]string{"a": "b"} },
	} {
		o := fullOptions()
		change(&o)
		all := fault.All(c.same(o))
		if len(all) != 1 || all[0].ID != "cluster-differs" || !strings.Contains(all[0].Error(), "with "+what+" ") {
			t.Errorf("%s: %v", what, all)
		}
	}
}

// TestDiffersNow: a cluster is as large as it has become, and what asks for another one is named.
func TestDiffersNow(t *testing.T) {
	o := fullOptions()
	c := &Cluster{Record: newRecord(o, &images.Bundle{}, &images.Unpacked{}, "/self"), dirs: Dirs{Cache: "/cache"}}
	c.Asked = o.Bundle
	c.Nodes = append(c.Nodes, bootstrap.Node{Name: "more"}, bootstrap.Node{Name: "cp", ControlPlane: true})
	controlPlanes, workers := c.Size()
	if o.ControlPlanes, o.Workers = controlPlanes, workers; c.same(o) != nil {
		t.Errorf("of its size of now: %v", c.same(o))
	}
	o.Workers, o.Egress = 7, !o.Egress
	want := []string{fmt.Sprintf("with workers %d instead of 7 (--workers)", workers), fmt.Sprintf("instead of %v (--egress)", o.Egress)}
	all := fault.All(c.same(o))
	if text := fmt.Sprint(all); len(all) != 2 || !strings.Contains(text, want[0]) || !strings.Contains(text, want[1]) {
		t.Errorf("%v, want %q", all, want)
	}
}

func TestBinds(t *testing.T) {
	r := newRecord(fullOptions(), &images.Bundle{}, &images.Unpacked{}, "/self")
	all := local.Bind{Source: "/etc/passwd", Target: "/mnt/a"}
	if got := r.binds(r.Nodes[0]); !reflect.DeepEqual(got, []local.Bind{all}) {
		t.Errorf("a control plane sees %v", got)
	}
	if got := r.binds(r.Nodes[1]); !reflect.DeepEqual(got, []local.Bind{all, {Source: "/srv", Target: "/mnt/b", ReadOnly: true}}) {
		t.Errorf("a worker sees %v", got)
	}
}

// TestMountGone: what a cluster was shown is not made anew when it has gone.
func TestMountGone(t *testing.T) {
	c := &Cluster{}
	c.Bundle, c.Mounts = "/", []Mount{{HostPath: t.TempDir()}}
	if err := c.checkLayers(); err != nil {
		t.Error(err)
	}
	c.Mounts[0].HostPath += "/gone"
	if all := fault.All(c.checkLayers()); len(all) != 1 || all[0].ID != "machine-files-missing" || !strings.Contains(all[0].Error(), "/gone") {
		t.Errorf("got %v", all)
	}
}

func TestNodePaths(t *testing.T) {
	for path, good := range map[string]bool{
		"/mnt": true, "/data": true, "/tmp/x": true, "/var/lib/data": true, "/home": true, "/mnt/../srv": true, "/var/lib/kubeletx": true,
		"": false, "data": false, "/": false, "/var": false, "/var/lib": false, "/var/lib/kubelet/pods": false, "/etc": false, "/proc/x": false,
		"/mnt/../etc/kubernetes": false, "/usr": false, "/root": false, "/run": false,
	} {
		if err := checkNodePath(path); (err == nil) != good {
			t.Errorf("%q: %v", path, err)
		}
	}
	o := fullOptions()
	o.Mounts = append(o.Mounts, Mount{HostPath: "/srv", NodePath: "/mnt/a/", Role: workerRole}, Mount{HostPath: "/srv", NodePath: "/mnt/b", Role: controlPlaneRole})
	if all := fault.All(o.Validate()); len(all) != 1 || !strings.Contains(all[0].Error(), `mounts.2.nodePath: "/mnt/a/" is mounted twice`) {
		t.Errorf("got %v", all)
	}
}

func TestLabels(t *testing.T) {
	for key, good := range map[string]bool{
		"a": true, "example.com/a": true, "node.kubernetes.io/a": true, "x.node.kubernetes.io/a": true, "kubelet.kubernetes.io/a": true, "akubernetes.io/a": true,
		"kubernetes.io/hostname": false, "node-role.kubernetes.io/worker": false, "k8s.io/a": false, "a b": false, "/a": false, "kubernetes.io": true,
	} {
		if err := checkLabel(key, "v"); (err == nil) != good {
			t.Errorf("%q: %v", key, err)
		}
	}
	if checkLabel("a", "b c") == nil {
		t.Error("a value with a space is taken")
	}
}

// TestAddedIsAlike: a node that is added has what those of its role have, also if there was none of that role at first.
func TestAddedIsAlike(t *testing.T) {
	o := fullOptions()
	o.Workers = 0
	c := &Cluster{Record: newRecord(o, &images.Bundle{}, &images.Unpacked{}, "/self")}
	n, err := c.newNode(false)
	if err != nil || !reflect.DeepEqual(n.Labels, o.Worker.Labels) || !reflect.DeepEqual(n.Taints, o.Worker.Taints) {
		t.Errorf("got %+v, %v", n, err)
	}
}
