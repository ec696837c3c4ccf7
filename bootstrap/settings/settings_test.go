package settings_test

import (
	"fmt"
	"maps"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	kubelet "k8s.io/kubelet/config/v1beta1"

	"slipway.dev/slipway/bootstrap/settings"
	"slipway.dev/slipway/images/pins"
	"slipway.dev/slipway/internal/testenv"
)

const version = "v1.37.1"

func TestArgs(t *testing.T) {
	s := settings.Settings{
		APIServer:         map[string]string{"audit-log-maxage": "7", "v": "2", "enable-admission-plugins": "AlwaysPullImages"},
		ControllerManager: map[string]string{"controllers": "-ttl"},
		FeatureGates:      map[string]bool{"B": false, "A": true, "ControllerManagerReleaseLeaderElectionLockOnExit": true},
	}
	gates := "--feature-gates=A=true,B=false"
	for _, tt := range []struct {
		component           string
		ours, want, changed []string
	}{
		{"kube-apiserver", []string{"--enable-admission-plugins=NodeRestriction", "--audit-log-maxage=30", "--a=b=c"},
			[]string{
				"--a=b=c", "--audit-log-maxage=7", "--enable-admission-plugins=NodeRestriction,AlwaysPullImages",
				gates + ",ControllerManagerReleaseLeaderElectionLockOnExit=true", "--v=2",
			},
			[]string{"audit-log-maxage", "enable-admission-plugins", "feature-gates", "v"}},
		{"kube-controller-manager", []string{"--controllers=*,tokencleaner"},
			[]string{"--controllers=*,tokencleaner,-ttl", gates + ",ControllerManagerReleaseLeaderElectionLockOnExit=true"}, []string{"controllers", "feature-gates"}},
		{"kube-scheduler", nil, []string{gates}, []string{"feature-gates"}}, // it does not know the third
		{"etcd", []string{"--a=b"}, []string{"--a=b"}, nil},
	} {
		if tt.component == "etcd" {
			s.FeatureGates = nil
		}
		all, changed := s.Args(tt.component, version, tt.ours)
		slices.Sort(all)
		if !slices.Equal(all, tt.want) || !slices.Equal(changed, tt.changed) {
			t.Errorf("%s: got %q, changed %q, want %q, %q", tt.component, all, changed, tt.want, tt.changed)
		}
	}
	if len(s.APIServer) != 3 {
		t.Error("the settings themselves were changed")
	}
}

func TestConfigureKubelet(t *testing.T) {
	s := settings.Settings{
		FeatureGates: map[string]bool{"A": false},
		Kubelet:      map[string]any{"maxPods": 50, "evictionHard": map[string]any{"memory.available": "1Gi"}, "syncFrequency": nil, "allowedUnsafeSysctls": []any{"b"}},
	}
	off := false
	ours := &kubelet.KubeletConfiguration{
		MaxPods: 110, EvictionHard: map[string]string{"nodefs.available": "0%"}, AllowedUnsafeSysctls: []string{"a"}, ClusterDomain: "x", FailSwapOn: &off,
	}
	got, err := s.ConfigureKubelet(ours, version)
	if err != nil {
		t.Fatal(err)
	}
	if got.MaxPods != 50 || !maps.Equal(got.EvictionHard, map[string]string{"nodefs.available": "0%", "memory.available": "1Gi"}) ||
		!slices.Equal(got.AllowedUnsafeSysctls, []string{"b"}) || got.ClusterDomain != "x" || *got.FailSwapOn || got.FeatureGates["A"] || len(got.FeatureGates) != 1 {
		t.Errorf("got %+v", got)
	}
}

func TestCheck(t *testing.T) {
	for _, tt := range []struct {
		s    settings.Settings
		want string // path and text of the only problem
	}{
		{settings.Settings{}, ""},
		{settings.Settings{FeatureGates: map[string]bool{"AllAlpha": true, "ControllerManagerReleaseLeaderElectionLockOnExit": true}}, ""},
		{settings.Settings{FeatureGates: map[string]bool{"Nonsense": true}}, "featureGates.Nonsense: there is no feature gate of that name in Kubernetes v1.37.1"},
		{settings.Settings{FeatureGates: map[string]bool{"CPUManagerPolicyOptions": true}}, ""},
		{settings.Settings{FeatureGates: map[string]bool{"CPUManagerPolicyOptions": false}}, "featureGates.CPUManagerPolicyOptions: it is true in Kubernetes v1.37.1 and cannot"},
		{settings.Settings{APIServer: map[string]string{"oidc-issuer-url": "x"}}, "apiServer.extraArgs.oidc-issuer-url: Slipway sets it itself: it decides who"},
		{settings.Settings{APIServer: map[string]string{"feature-gates": "x"}}, "apiServer.extraArgs.feature-gates: give gates to all"},
		{settings.Settings{ControllerManager: map[string]string{"cluster-signing-duration": "1h"}}, "controllerManager.extraArgs.cluster-signing-duration: Slipway sets"},
		{settings.Settings{ControllerManager: map[string]string{"cluster-cidr": "x"}}, "controllerManager.extraArgs.cluster-cidr: use podCIDR"},
		{settings.Settings{Scheduler: map[string]string{"config": "x"}}, "scheduler.extraArgs.config: there is no such file where it runs"},
		{settings.Settings{Scheduler: map[string]string{"max-requests-inflight": "1"}}, "scheduler.extraArgs.max-requests-inflight: kube-scheduler v1.37.1 has no flag"},
		{settings.Settings{Kubelet: map[string]any{"registerWithTaints": 3}}, "kubelet.registerWithTaints: use taints"},
		{settings.Settings{Kubelet: map[string]any{"logging": map[string]any{"verbosity": -1}}}, "kubelet.logging.verbosity: it must be a number that fits uint32"},
		{settings.Settings{Kubelet: map[string]any{"logging": []any{}}}, "kubelet.logging: it must be a mapping"},
		{settings.Settings{Kubelet: map[string]any{"reservedMemory": []any{map[string]any{"numaNode": "a"}}}}, "kubelet.reservedMemory.0.numaNode: it must be a number"},
		{settings.Settings{Kubelet: map[string]any{"syncFrequency": "soon"}}, "kubelet.syncFrequency: time: invalid duration"},
		{settings.Settings{Kubelet: map[string]any{"syncFrequency": "10s", "kind": "KubeletConfiguration", "maxPods": 3.0, "evictionHard": nil}}, ""},
	} {
		got := tt.s.Check(version)
		if len(got) == 0 && tt.want == "" {
			continue
		}
		if len(got) != 1 || tt.want == "" || !strings.HasPrefix(strings.Join(got[0].Path, ".")+": "+got[0].Err.Error(), tt.want) {
			t.Errorf("%+v: got %v, want %s", tt.s, got, tt.want)
		}
	}
	unknown := settings.Settings{FeatureGates: map[string]bool{"Nonsense": true}, APIServer: map[string]string{"nonsense": "x", "etcd-servers": "x"}}
	if got := unknown.Check(""); len(got) != 1 || got[0].Path[2] != "etcd-servers" {
		t.Errorf("without a version: %v", got)
	}
}

// TestKnown holds the list of the default version against the bundle's own programs, and that there is one of each version.
func TestKnown(t *testing.T) {
	for _, minor := range pins.Minors() {
		if (settings.Settings{FeatureGates: map[string]bool{"Nonsense": true}}).Check("v"+strings.TrimPrefix(minor, "v")) == nil {
			t.Errorf("there is no list for %s: go run ./hack/known", minor)
		}
	}
	b := testenv.NeedBundle(t)
	for _, component := range []string{"kubelet", "kube-apiserver"} {
		help := help(t, b, component)
		gates := regexp.MustCompile(`([A-Z]\w+)=true\|false \([A-Z]+ - default=(true|false)\)`).FindAllStringSubmatch(help, -1)
		if len(gates) < 50 {
			t.Fatalf("%s shows %d gates", component, len(gates))
		}
		for _, m := range gates {
			if got := (settings.Settings{FeatureGates: map[string]bool{m[1]: m[2] == "false"}}).Check(version); got != nil {
				t.Errorf("%s has the gate %s, which is refused: %v", component, m[1], got)
			}
		}
		for _, m := range regexp.MustCompile(`(?m)^ +(?:-\w, )?--([a-z0-9-]+)`).FindAllStringSubmatch(help, -1) {
			got := (settings.Settings{APIServer: map[string]string{m[1]: "x"}}).Check(version)
			if component == "kube-apiserver" && got != nil && strings.Contains(got[0].Err.Error(), "has no flag") {
				t.Errorf("%s has the flag %s, which is refused", component, m[1])
			}
		}
	}
}

func help(t *testing.T, b testenv.Bundle, component string) string {
	t.Helper()
	dir := t.TempDir()
	if err := b.Extract(component, dir); err != nil {
		t.Fatal(err)
	}
	out, err := exec.CommandContext(t.Context(), filepath.Join(dir, "usr/local/bin", component), "--help").Output()
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

func TestCompare(t *testing.T) {
	one := settings.Settings{FeatureGates: map[string]bool{"A": true, "B": false}, Scheduler: map[string]string{}}
	other := settings.Settings{FeatureGates: map[string]bool{"B": false, "A": true}}
	var got []string
	note := func(what string, is, wanted any) { got = append(got, fmt.Sprintf("%s: %v, %v", what, is, wanted)) }
	if one.Compare(other, note); got != nil {
		t.Errorf("the same settings: %q", got)
	}
	other.FeatureGates["A"], other.APIServer = false, map[string]string{"v": "2"}
	one.Compare(other, note)
	if want := []string{"feature gates: map[A:true B:false], map[A:false B:false]", "arguments of the API server: map[], map[v:2]"}; !slices.Equal(got, want) {
		t.Errorf("got %q", got)
	}
}
