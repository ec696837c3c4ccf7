package addons

import (
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// corefile patches CoreDNS's configuration.
func corefile(cfg Config) patch[corev1.ConfigMap] {
	return func(m *corev1.ConfigMap) error {
		text, ok := m.Data["Corefile"]
		if !ok {
			return fmt.Errorf("data.Corefile is not in the manifest")
		}
		// A replica that stops answers for this long so that clients move on. Five seconds are
		// added to every rolling update and every drain; endpoints follow within one.
		if err := replaceText(&text, "lameduck 5s", "lameduck 1s"); err != nil {
			return fmt.Errorf("data.Corefile: %w", err)
		}
		if !cfg.UpstreamDNS {
			var err error
			if text, err = withoutForward(text); err != nil {
				return fmt.Errorf("data.Corefile: %w", err)
			}
		}
		m.Data["Corefile"] = text
		return nil
	}
}

// withoutForward drops the stanza that asks the node's resolvers: CoreDNS exits when the node's
// resolv.conf names none. Names outside the cluster are then refused at once.
func withoutForward(text string) (string, error) {
	var out []string
	found, inside := false, false
	for _, line := range strings.Split(text, "\n") {
		trimmed := strings.TrimSpace(line)
		if strings.HasPrefix(trimmed, "forward ") {
			found, inside = true, strings.HasSuffix(trimmed, "{")
			continue
		}
		if inside {
			inside = trimmed != "}"
			continue
		}
		out = append(out, line)
	}
	if !found || inside {
		return "", fmt.Errorf("a forward stanza is not in the manifest")
	}
	return strings.Join(out, "\n"), nil
}
