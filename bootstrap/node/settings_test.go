package node

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"slipway.dev/slipway/bootstrap"
	"slipway.dev/slipway/bootstrap/settings"
)

// TestSettingsReachComponents: what the cluster's settings say is in the pods, in the kubelet's configuration, and in what kubeadm gives
// those that join.
func TestSettingsReachComponents(t *testing.T) {
	spec := testSpecs(t)[0]
	spec.Cluster.Settings = settings.Settings{
		FeatureGates: map[string]bool{"AllBeta": false},
		APIServer:    map[string]string{"enable-admission-plugins": "AlwaysPullImages", "profiling": "true"},
		Scheduler:    map[string]string{"kube-api-qps": "7"},
		Kubelet:      map[string]any{"maxPods": 17, "evictionHard": map[string]any{"memory.available": "1Gi"}},
	}
	spec.Node.Labels = map[string]string{"b": "2", "a": "1"}
	spec.Node.Taints = []bootstrap.Taint{{Key: "k", Value: "v", Effect: "NoExecute"}}
	spec.Cluster.Dedicated = true
	n := testBuilder(t, spec)
	for _, tt := range []struct {
		c    component
		want []string
	}{
		{n.apiServer(), []string{"--feature-gates=AllBeta=false", "--enable-admission-plugins=NodeRestriction,AlwaysPullImages", "--profiling=true"}},
		{n.controllerManager(), []string{"--feature-gates=AllBeta=false", "--profiling=false"}},
		{n.scheduler(), []string{"--feature-gates=AllBeta=false", "--kube-api-qps=7"}},
	} {
		command := n.pod(tt.c).Spec.Containers[0].Command
		for _, text := range tt.want {
			name, value, _ := strings.Cut(strings.TrimPrefix(text, "--"), "=")
			if !slices.Contains(command, text) {
				t.Errorf("%s lacks %s: %q", tt.c.name, text, command)
			}
			if !slices.Contains(extraArgs(tt.c), arg{name, value}) {
				t.Errorf("kubeadm does not give %s to %s", text, tt.c.name)
			}
		}
	}
	shared, err := n.kubeletConfiguration()
	if err != nil {
		t.Fatal(err)
	}
	own, err := n.ownKubeletConfiguration()
	if err != nil {
		t.Fatal(err)
	}
	if shared.MaxPods != 17 || own.MaxPods != 17 || own.EvictionHard["nodefs.available"] != "0%" || own.EvictionHard["memory.available"] != "1Gi" ||
		own.FeatureGates["AllBeta"] || len(own.FeatureGates) != 1 || own.StaticPodPath != manifestDir {
		t.Errorf("got %+v", own)
	}
	if len(own.RegisterWithTaints) != 2 || own.RegisterWithTaints[1].Key != "k" || len(shared.RegisterWithTaints) != 0 {
		t.Errorf("taints: %v, of all nodes: %v", own.RegisterWithTaints, shared.RegisterWithTaints)
	}
	if got := n.nodeLabels(); got != " --node-labels=a=1,b=2" {
		t.Errorf("labels: %q", got)
	}
}

func TestFailureInLog(t *testing.T) {
	const start = "2026-01-01T00:00:00Z stderr F "
	for text, want := range map[string]string{
		start + "one\n": "",
		start + "I1 main.go:1] \"starts\"\n" + start + "E1 run.go:72] \"command failed\" err=\"no such thing\"\n" + start + "bye\n": "E1 run.go:72] \"command failed\" err=\"no such thing\"",
		start + "Error: unknown flag: --x\n":                         "Error: unknown flag: --x",
		strings.Repeat(start+"E1 x\n", 10000) + start + "Error: a\n": "Error: a",
	} {
		path := filepath.Join(t.TempDir(), "0.log")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if got := failureIn(newest(filepath.Join(filepath.Dir(path), "*.log"), time.Time{})); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	old := filepath.Join(t.TempDir(), "0.log")
	if err := os.WriteFile(old, []byte("1 2 3 Error: of an earlier run\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := failureIn(newest(old, time.Now().Add(time.Second))); got != "" {
		t.Errorf("got %q", got)
	}
}
