package node

import (
	"testing"

	"slipway.dev/slipway/bootstrap"
)

func TestMirrorFiles(t *testing.T) {
	got := mirrorFiles([]bootstrap.Mirror{
		{Host: "docker.io", URL: "http://192.0.2.1:5000"},
		{Host: "localhost:5000", URL: "http://192.0.2.1:5000", Only: true},
		{Host: "docker.io", URL: "https://registry.example", CA: "authority"},
		{Host: "registry.example", URL: "https://registry.example", CA: "authority", Only: true},
		{Host: bootstrap.AnyHost, URL: "http://192.0.2.2"},
	})
	want := [][2]string{
		{"docker.io/ca-2.crt", "authority"},
		{"registry.example/ca-3.crt", "authority"},
		{"docker.io/hosts.toml", `[host."http://192.0.2.1:5000"]
capabilities = ['pull', 'resolve']

[host."https://registry.example"]
capabilities = ['pull', 'resolve']
ca = "/etc/containerd/certs.d/docker.io/ca-2.crt"
`},
		{"localhost:5000/hosts.toml", "server = \"http://192.0.2.1:5000\"\n"},
		{"registry.example/hosts.toml", `server = "https://registry.example"
ca = "/etc/containerd/certs.d/registry.example/ca-3.crt"
`},
		{"_default/hosts.toml", `[host."http://192.0.2.2"]
capabilities = ['pull', 'resolve']
`},
	}
	if len(got) != len(want) {
		t.Fatalf("got %d files, want %d", len(got), len(want))
	}
	for i, f := range got {
		if f.Path != containerdHosts+"/"+want[i][0] || string(f.Data) != want[i][1] || f.Mode != 0o644 {
			t.Errorf("%s, mode %v:\n%s\nwant %s:\n%s", f.Path, f.Mode, f.Data, want[i][0], want[i][1])
		}
	}
}
