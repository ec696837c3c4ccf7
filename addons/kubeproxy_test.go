package addons_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// kube-proxy itself reads the configuration, and says what it makes of it without doing anything.
func TestKubeProxyAcceptsItsConfiguration(t *testing.T) {
	program := filepath.Join(programsOf(t, "kube-proxy"), "kube-proxy")
	for variant, want := range map[string]string{"local": "maxPerCore: 0\n", "large": "maxPerCore: 32768\n"} {
		t.Run(variant, func(t *testing.T) {
			u := object(t, mustRender(t, variants()[variant])["kube-proxy"], "ConfigMap")
			text, _, _ := unstructured.NestedString(u.Object, "data", "config.conf")
			in, out := filepath.Join(t.TempDir(), "in"), filepath.Join(t.TempDir(), "out")
			write(t, in, []byte(text))
			cmd := exec.Command(program, "--config", in, "--write-config-to", out)
			if said, err := cmd.CombinedOutput(); err != nil {
				t.Fatalf("%v\n%s", err, said)
			}
			got, err := os.ReadFile(out)
			if err != nil {
				t.Fatal(err)
			}
			for _, line := range []string{want, "mode: nftables\n", "clusterCIDR: 10.244.0.0/16\n"} {
				if !strings.Contains(string(got), line) {
					t.Errorf("%q is not in\n%s", line, got)
				}
			}
		})
	}
}

// TestKubeProxyGates: one that is off is said too, and kube-proxy knows it.
func TestKubeProxyGates(t *testing.T) {
	cfg := variants()["local"]
	cfg.FeatureGates = map[string]bool{"AllAlpha": false, "AllBeta": true}
	text, _, _ := unstructured.NestedString(object(t, mustRender(t, cfg)["kube-proxy"], "ConfigMap").Object, "data", "config.conf")
	if !strings.Contains(text, "featureGates:\n  AllAlpha: false\n  AllBeta: true\n") {
		t.Errorf("got\n%s", text)
	}
}
