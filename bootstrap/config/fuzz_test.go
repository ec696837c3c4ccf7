package config

import (
	"bytes"
	"regexp"
	"testing"

	"go.yaml.in/yaml/v3"
	kubelet "k8s.io/kubelet/config/v1beta1"

	"slipway.dev/slipway/bootstrap/settings"
)

// FuzzDecode: whatever a file has, there are either problems, each with a text, or settings that survive being written
// and read again.
func FuzzDecode(f *testing.F) {
	f.Fuzz(func(t *testing.T, data []byte) {
		settles[InitConfiguration](t, data, InitKind)
		settles[JoinConfiguration](t, data, JoinKind)
		settles[LocalCluster](t, data, LocalKind)
	})
}

func settles[T any](t *testing.T, data []byte, kind string) {
	t.Helper()
	var c T
	root, problems := decode(data, kind, &c)
	if problems != nil {
		for _, p := range problems {
			if p.text == "" || p.line < 0 {
				t.Errorf("a problem is %+v", p)
			}
		}
		return
	}
	if local, ok := any(c).(LocalCluster); ok {
		checks(t, &Origin{path: "file", root: root}, local.Settings())
	}
	text := marshal(t, c)
	if !bytes.Contains(text, []byte("apiVersion: "+APIVersion+"\nkind: "+kind+"\n")) {
		t.Errorf("taken for %s: %q", kind, data)
	}
	var again T
	if _, problems := decode(text, kind, &again); problems != nil {
		t.Fatalf("%q was read, and cannot be read again: %v", text, problems)
	}
	if second := marshal(t, again); !bytes.Equal(text, second) {
		t.Errorf("%q became %q", text, second)
	}
}

// checks: each problem with the settings has a place in the file and a text, and settings without any can be given to a node.
func checks(t *testing.T, origin *Origin, s settings.Settings) {
	t.Helper()
	problems := s.Check("v1.37.1")
	for _, p := range problems {
		if at := origin.Field(p.Path...); p.Err.Error() == "" || !regexp.MustCompile(`"file:[1-9]\d*"$`).MatchString(at) {
			t.Errorf("a problem is %v at %s", p.Err, at)
		}
	}
	if len(problems) > 0 {
		return
	}
	if _, err := s.ConfigureKubelet(&kubelet.KubeletConfiguration{}, "v1.37.1"); err != nil {
		t.Errorf("%s cannot be given to a kubelet: %v", s.KubeletText(), err)
	}
}

func marshal(t *testing.T, v any) []byte {
	t.Helper()
	text, err := yaml.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return text
}
