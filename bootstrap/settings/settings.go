package settings

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Settings are the same for all nodes of a cluster, also for those that join later. They are no place for secrets.
type Settings struct {
	FeatureGates map[string]bool `json:"featureGates,omitempty"`
	// The arguments of each component: names without hyphens, and values.
	APIServer         map[string]string `json:"apiServer,omitempty"`
	ControllerManager map[string]string `json:"controllerManager,omitempty"`
	Scheduler         map[string]string `json:"scheduler,omitempty"`
	// Kubelet is a part of a KubeletConfiguration.
	Kubelet map[string]any `json:"kubelet,omitempty"`
}

// The components that are given arguments or gates.
const (
	apiServer         = "kube-apiserver"
	controllerManager = "kube-controller-manager"
	scheduler         = "kube-scheduler"
	kubelet           = "kubelet"
	proxy             = "kube-proxy"
)

// KubeletText is the same for the same settings of the kubelet.
func (s Settings) KubeletText() string {
	text, err := json.Marshal(s.Kubelet)
	if err != nil {
		return err.Error()
	}
	return string(text)
}

// Compare names what other settings have another value of, and gives both.
func (s Settings) Compare(other Settings, differs func(what string, one, other any)) {
	for _, c := range []struct {
		what       string
		one, other any
	}{
		{"feature gates", s.FeatureGates, other.FeatureGates},
		{"arguments of the API server", s.APIServer, other.APIServer},
		{"arguments of the controller manager", s.ControllerManager, other.ControllerManager},
		{"arguments of the scheduler", s.Scheduler, other.Scheduler},
		{"kubelet settings", s.KubeletText(), other.KubeletText()},
	} {
		if one, other := fmt.Sprint(c.one), fmt.Sprint(c.other); one != other { // maps are printed in the order of their keys
			differs(c.what, one, other)
		}
	}
}

func (s Settings) args(component string) map[string]string {
	switch component {
	case apiServer:
		return s.APIServer
	case controllerManager:
		return s.ControllerManager
	case scheduler:
		return s.Scheduler
	}
	return nil
}

// Args completes the flags of a component, each --NAME=VALUE, and gives also the names of those that the settings change.
func (s Settings) Args(component, version string, ours []string) (all, changed []string) {
	own := map[string]string{}
	var names []string
	for _, arg := range ours {
		name, value, _ := strings.Cut(strings.TrimPrefix(arg, "--"), "=")
		own[name], names = value, append(names, name)
	}
	wanted := maps.Clone(s.args(component))
	if gates := s.Gates(component, version); len(gates) > 0 {
		if wanted == nil {
			wanted = map[string]string{}
		}
		wanted["feature-gates"] = joined(gates)
	}
	for name, value := range wanted {
		if before, ok := own[name]; ok && slices.Contains(added(component), name) {
			value = before + "," + value
		}
		own[name] = value
		changed = append(changed, name)
		if !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	for _, name := range names {
		all = append(all, "--"+name+"="+own[name])
	}
	slices.Sort(changed)
	return all, changed
}

// added are the lists that settings add to, and do not replace: a cluster does not work without our own entries.
func added(component string) []string {
	switch component {
	case apiServer:
		return []string{"enable-admission-plugins"}
	case controllerManager:
		return []string{"controllers"}
	}
	return nil
}

// Gates are those that a component of this version, with the leading v, knows.
func (s Settings) Gates(component, version string) map[string]bool {
	k := knownIn(version)
	out := map[string]bool{}
	for name, on := range s.FeatureGates {
		if !k.lacks[component+" "+name] {
			out[name] = on
		}
	}
	return out
}

func joined(gates map[string]bool) string {
	var out []string
	for _, name := range slices.Sorted(maps.Keys(gates)) {
		out = append(out, fmt.Sprintf("%s=%v", name, gates[name]))
	}
	return strings.Join(out, ",")
}
