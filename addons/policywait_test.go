package addons_test

import (
	"encoding/json"
	"strings"
	"testing"
)

// TestCNIConfigurationIsJSON fills in what install-cni fills in, and looks for what makes pods wait for their policies.
func TestCNIConfigurationIsJSON(t *testing.T) {
	for name, cfg := range variants() {
		text := ""
		for _, u := range mustRender(t, cfg)["calico"].Objects {
			if u.GetKind() == "ConfigMap" && u.GetName() == "calico-config" {
				text, _ = u.Object["data"].(map[string]any)["cni_network_config"].(string)
			}
		}
		text = strings.NewReplacer("__CNI_MTU__", "0", "__KUBERNETES_NODE_NAME__", "n").Replace(text)
		var config struct {
			Plugins []struct {
				Type    string `json:"type"`
				Timeout int    `json:"policy_setup_timeout_seconds"`
				IPAM    struct {
					IPv6 string `json:"assign_ipv6"`
				} `json:"ipam"`
			} `json:"plugins"`
		}
		if err := json.Unmarshal([]byte(text), &config); err != nil {
			t.Fatalf("%s: %v in %s", name, err, text)
		}
		if len(config.Plugins) == 0 || config.Plugins[0].Type != "calico" || config.Plugins[0].Timeout != 10 {
			t.Errorf("%s: %+v", name, config)
		}
		if got, want := config.Plugins[0].IPAM.IPv6 == "true", cfg.PodCIDR6.IsValid(); got != want {
			t.Errorf("%s: pods get an IPv6 address: %v, want %v", name, got, want)
		}
	}
}
