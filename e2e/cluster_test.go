package e2e_test

import (
	"os"
	"path/filepath"
	"reflect"
	"testing"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/clientcmd/api"
)

// TestCluster is "It works when" of a cluster with two workers, on one launch, top to bottom.
func TestCluster(t *testing.T) {
	need(t)
	foreign := writeForeign(t)
	before := takeInventory(t)
	a := launch(t, "a", "--workers", "2")
	for _, step := range []struct {
		name string
		run  func(*testing.T, cluster)
	}{
		{"kubeconfig", checkMerged},
		{"ready", checkReady},
		{"network plugin", checkPlugin},
		{"name taken", checkNameTaken},
		{"commands", checkCommands},
		{"load image", loadEcho},
		{"services", checkServices},
		{"network policy", checkPolicy},
		{"source port", checkSourcePort},
		{"configuration and secrets", checkConfiguration},
		{"healing", checkHealing},
		{"rolling update", checkRollingUpdate},
		{"access", checkAccess},
		{"kubelet metrics", checkKubeletMetrics},
		{"security", checkSecurity},
		{"nothing restarts", checkNoRestarts},
	} {
		if !t.Run(step.name, func(t *testing.T) { step.run(t, a) }) && (step.name == "ready" || step.name == "load image") {
			a.describe(t)
			t.FailNow() // what follows needs it
		}
	}
	t.Run("down leaves nothing", func(t *testing.T) { checkDown(t, before, foreign, a.name) })
}

func (c cluster) describe(t *testing.T) {
	t.Helper()
	for _, args := range [][]string{
		{"get", "nodes,pods", "-A", "-o", "wide"},
		{"get", "events", "-A", "--sort-by=.lastTimestamp"},
	} {
		t.Log(c.try(t, args...).stdout)
	}
}

func restConfig(t *testing.T) *rest.Config {
	t.Helper()
	config, err := clientcmd.BuildConfigFromFlags("", os.Getenv("KUBECONFIG"))
	if err != nil {
		t.Fatal(err)
	}
	return config
}

func client(t *testing.T) *kubernetes.Clientset {
	t.Helper()
	c, err := kubernetes.NewForConfig(restConfig(t))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// writeForeign puts another cluster's entry into the kubeconfig, which nobody may touch.
func writeForeign(t *testing.T) *api.Config {
	t.Helper()
	c := api.NewConfig()
	c.Clusters["other"] = &api.Cluster{Server: "https://other.example:6443", CertificateAuthority: "ca.crt"}
	c.AuthInfos["other"] = &api.AuthInfo{Token: "not-a-secret"}
	c.Contexts["other"] = &api.Context{Cluster: "other", AuthInfo: "other", Namespace: "mine"}
	c.CurrentContext = "other"
	if err := clientcmd.WriteToFile(*c, os.Getenv("KUBECONFIG")); err != nil {
		t.Fatal(err)
	}
	return readKubeconfig(t)
}

func readKubeconfig(t *testing.T) *api.Config {
	t.Helper()
	c, err := clientcmd.LoadFromFile(os.Getenv("KUBECONFIG"))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func checkMerged(t *testing.T, c cluster) {
	got, name := readKubeconfig(t), "slipway-"+c.name
	if got.CurrentContext != name || got.Contexts[name] == nil {
		t.Errorf("current context is %q, want %q", got.CurrentContext, name)
	}
	if got.Contexts["other"] == nil || got.AuthInfos["other"] == nil || got.Clusters["other"] == nil {
		t.Error("the other cluster's entry is gone")
	}
	info, err := os.Stat(os.Getenv("KUBECONFIG"))
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode() != 0o600 {
		t.Errorf("mode %v, want 0600", info.Mode())
	}
	printed := filepath.Join(t.TempDir(), "kubeconfig")
	if err := os.WriteFile(printed, []byte(slipway(t, "kubeconfig", c.name).stdout), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := clientcmd.LoadFromFile(printed); err != nil {
		t.Errorf("what slipway kubeconfig prints: %v", err)
	}
}

func checkDown(t *testing.T, before inventory, foreign *api.Config, name string) {
	slipway(t, "down", name)
	before.compare(t, takeInventory(t))
	after := readKubeconfig(t)
	after.CurrentContext = foreign.CurrentContext
	if !reflect.DeepEqual(after, foreign) {
		t.Error("the kubeconfig's other entries have changed, or one of ours is left")
	}
}
