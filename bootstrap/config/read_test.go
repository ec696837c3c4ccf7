package config_test

import (
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"slipway.dev/slipway/bootstrap/config"
	"slipway.dev/slipway/internal/fault"
)

const (
	initHeader = "apiVersion: slipway.dev/v1alpha1\nkind: InitConfiguration\n"
	joinHeader = "apiVersion: slipway.dev/v1alpha1\nkind: JoinConfiguration\n"
)

func file(t *testing.T, text string, mode os.FileMode) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "file.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil { // whatever the umask is
		t.Fatal(err)
	}
	return path
}

// TestTextStays: what looks like a number to YAML is a version or a secret to us.
func TestTextStays(t *testing.T) {
	i, _, err := config.ReadInit(file(t, initHeader+"kubernetesVersion: 1.30\nclusterName: 007\ntokenTTL: 90m\nworkloads: false\npodCIDR:\nskip: [a, 1.10]\n", 0o644))
	if err != nil {
		t.Fatal(err)
	}
	if *i.KubernetesVersion != "1.30" || *i.ClusterName != "007" || *i.TokenTTL != 90*time.Minute || !slices.Equal(i.Skip, []string{"a", "1.10"}) {
		t.Errorf("got %q, %q, %v, %q", *i.KubernetesVersion, *i.ClusterName, *i.TokenTTL, i.Skip)
	}
	if i.Workloads == nil || *i.Workloads || i.UploadCerts != nil || i.PodCIDR != nil {
		t.Errorf("what is in the file and what is not is mixed up: %v, %v, %v", i.Workloads, i.UploadCerts, i.PodCIDR)
	}
	key := "00" + strings.Repeat("1", 60) + "e5"
	j, err := config.ReadJoin(file(t, joinHeader+"token: 012345.0123456789012345\ncertificateKey: "+key+"\n", 0o600))
	if err != nil {
		t.Fatal(err)
	}
	if *j.Token != "012345.0123456789012345" || *j.CertificateKey != key {
		t.Errorf("got %q, %q", *j.Token, *j.CertificateKey)
	}
}

// TestProblems: all at once, each with its line where it has one, and nothing of a secret.
func TestProblems(t *testing.T) {
	for name, tt := range map[string]struct {
		text string
		want []string
	}{
		"empty":         {"", []string{`apiVersion is ""`, `kind is ""`}},
		"only comments": {"# nothing\n", []string{`apiVersion is ""`, `kind is ""`}},
		"other kind":    {"apiVersion: slipway.dev/v1\nkind: JoinConfiguration\ntoken: x\n", []string{`apiVersion is "slipway.dev/v1", it must be`, `kind is "JoinConfiguration", it must be`}},
		"kubeadm's":     {"apiVersion: kubeadm.k8s.io/v1beta4\nkind: InitConfiguration\nnodeRegistration: {}\n", []string{`apiVersion is "kubeadm`}},
		"values": {initHeader + "podCidr: 10.0.0.0/8\nworkloads: maybe\ntokenTTL: 0\nskip: addons\nClusterName: x\ncni: [calico]\n", []string{
			`:3": there is no field "podCidr"; did you mean "podCIDR"?`, ":4\": it must be true or false, not `maybe`",
			":5\": it must be a time with its unit, as in 90s, not `0`", ":6\": it must be a list, not `addons`",
			`:7": there is no field "ClusterName"; did you mean "clusterName"?`, `:8": it must be a text`,
		}},
		"twice": {initHeader + "cni: none\nworkloads: true\ncni: calico\n", []string{`:5": mapping key "cni" already defined at line 3`}},
		"etcd": {initHeader + "etcd: {local: {}, external: {endpoints: https://a:2379, CAFile: x}}\n", []string{
			`:3": there is no field "local"`, `:3": it must be a list`, `:3": there is no field "CAFile"; did you mean "caFile"?`,
		}},
		"several":       {initHeader + "---\n" + initHeader, []string{"more than one document"}},
		"and an end":    {initHeader + "---\n", []string{"more than one document"}},
		"several wrong": {initHeader + "x: 1\n---\n[", []string{`:3": there is no field "x"`, "more than one document"}},
		"a list":        {"- a\n", []string{`:1": it must be a mapping`}},
		"no YAML":       {initHeader + "cni: \"none\n", []string{`:3": found unexpected end of stream`}},
		"too much":      {initHeader + strings.Repeat("#", 64<<10), []string{"more than 65536 bytes"}},
	} {
		t.Run(name, func(t *testing.T) {
			path := file(t, tt.text, 0o600)
			c, _, err := config.ReadInit(path)
			if c != nil {
				t.Errorf("got %+v", c)
			}
			wantFaults(t, err, "config-invalid", path, tt.want...)
		})
	}
	if _, _, err := config.ReadInit(file(t, initHeader+strings.Repeat("#", 64<<10-len(initHeader)), 0o600)); err != nil {
		t.Errorf("the largest file: %v", err)
	}
	for path, want := range map[string]string{t.TempDir(): "is a directory", filepath.Join(t.TempDir(), "none"): "no such file"} {
		_, err := config.ReadJoin(path)
		wantFaults(t, err, "config-invalid", path, want)
	}
	_, err := config.ReadJoin(file(t, joinHeader+"token: [abcdef.0123456789abcdef]\ncontrolPlane: abcdef.0123456789abcdef\n", 0o600))
	wantFaults(t, err, "config-invalid", "", `:3": it must be a text`, `:4": it must be true or false`)
	if strings.Contains(err.Error(), "0123456789") {
		t.Errorf("the error tells the token: %v", err)
	}
}

func wantFaults(t *testing.T, err error, id, path string, want ...string) {
	t.Helper()
	all := fault.All(err)
	if len(all) != len(want) {
		t.Fatalf("got %v, want %q", err, want)
	}
	for i, f := range all {
		if f.ID != id || f.Next == "" || !strings.Contains(f.Op, path) || !strings.Contains(f.Error(), want[i]) {
			t.Errorf("got [%s] %v, want [%s] %s", f.ID, f, id, want[i])
		}
	}
}

// TestExposed: a secret is refused in a file that others have any right to, whatever else is wrong with the file.
func TestExposed(t *testing.T) {
	const token, key, both = "token: abcdef.0123456789abcdef\n", "certificateKey: k\n", "token: abcdef.0123456789abcdef\ncertificateKey: k\n"
	for _, tt := range []struct {
		text string
		mode os.FileMode
		want []string
	}{
		{token, 0o600, nil}, {token, 0o400, nil}, {token, 0o700, nil},
		{token, 0o644, []string{"config-exposed"}}, {key, 0o640, []string{"config-exposed"}}, {both, 0o604, []string{"config-exposed"}},
		{key, 0o620, []string{"config-exposed"}}, {token, 0o601, []string{"config-exposed"}},
		{"endpoint: 10.0.0.1:6443\n", 0o644, nil},
		{token + "x: 1\n", 0o644, []string{"config-invalid", "config-exposed"}},
	} {
		path := file(t, joinHeader+tt.text, tt.mode)
		_, err := config.ReadJoin(path)
		var got []string
		for _, f := range fault.All(err) {
			got = append(got, f.ID)
			if f.ID == "config-exposed" && !strings.Contains(f.Next, "chmod 600 "+path) {
				t.Errorf("the advice is %q", f.Next)
			}
		}
		if !slices.Equal(got, tt.want) || strings.Contains(errors.Join(err, errors.New("")).Error(), "0123456789") {
			t.Errorf("%q with mode %v: got %v, want %v", tt.text, tt.mode, err, tt.want)
		}
	}
}

// TestDocumentedExamples: what the documentation shows can be read.
func TestDocumentedExamples(t *testing.T) {
	text, err := os.ReadFile("../../docs/servers-config.md")
	if err != nil {
		t.Fatal(err)
	}
	found := regexp.MustCompile("(?s)```yaml\n(.*?)```").FindAllSubmatch(text, -1)
	if len(found) != 3 {
		t.Fatalf("there are %d examples", len(found))
	}
	e, _, err := config.ReadInit(file(t, string(found[2][1]), 0o600))
	if err != nil || len(e.Etcd.External.Endpoints) != 3 || e.Etcd.External.KeyFile != "/root/etcd/client.key" {
		t.Error(err)
	}
	i, _, err := config.ReadInit(file(t, string(found[0][1]), 0o600))
	if err != nil || *i.PodCIDR != "10.32.0.0/16" {
		t.Error(err)
	}
	j, err := config.ReadJoin(file(t, string(found[1][1]), 0o600))
	if err != nil || len(j.DiscoveryTokenCACertHashes) != 1 {
		t.Error(err)
	}
}

// TestDocumentedCluster: so can the local cluster that docs/config.md shows, and its settings can be given to the components.
func TestDocumentedCluster(t *testing.T) {
	text, err := os.ReadFile("../../docs/config.md")
	if err != nil {
		t.Fatal(err)
	}
	found := regexp.MustCompile("(?s)```yaml\n(.*?)```").FindAllSubmatch(text, -1)
	if len(found) != 1 {
		t.Fatalf("there are %d examples", len(found))
	}
	c, origin, err := config.ReadLocal(file(t, string(found[0][1]), 0o644))
	if err != nil || len(c.Mounts) != 1 || *c.Workers != 2 {
		t.Fatal(err)
	}
	for _, p := range c.Settings().Check("v1.37.1") {
		t.Errorf("use %s: %v", origin.Field(p.Path...), p.Err)
	}
}
