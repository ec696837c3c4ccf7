package addons_test

import (
	"encoding/json"
	"strconv"
	"strings"
	"testing"

	"slipway.dev/slipway/addons"
)

// TestPluginConfiguration wants what install-cni makes of the cluster's template, and in it what makes pods wait for their policies.
func TestPluginConfiguration(t *testing.T) {
	for name, cfg := range variants() {
		template := ""
		for _, u := range mustRender(t, cfg)["calico"].Objects {
			if u.GetKind() == "ConfigMap" && u.GetName() == "calico-config" {
				template, _ = u.Object["data"].(map[string]any)["cni_network_config"].(string)
			}
		}
		text, err := addons.PluginConfiguration(cfg, manifests(t), "n1", "/etc/cni/net.d")
		if err != nil {
			t.Fatal(err)
		}
		want := strings.NewReplacer("__CNI_MTU__", strconv.Itoa(cfg.MTU), "__KUBERNETES_NODE_NAME__", "n1",
			"__KUBECONFIG_FILEPATH__", "/etc/cni/net.d/calico-kubeconfig").Replace(template)
		if string(text) != want {
			t.Errorf("%s: %s, want %s", name, text, want)
		}
		var config struct {
			Plugins []struct {
				Type    string `json:"type"`
				Timeout int    `json:"policy_setup_timeout_seconds"`
				IPAM    struct {
					IPv6 string `json:"assign_ipv6"`
				} `json:"ipam"`
			} `json:"plugins"`
		}
		if err := json.Unmarshal(text, &config); err != nil {
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
