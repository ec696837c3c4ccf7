package cri

import "testing"

func TestConfigOf(t *testing.T) {
	for want, args := range map[string][]string{
		defaultConfig: {"/usr/bin/containerd", "--log-level", "debug", ""},
		"/a":          {"containerd", "--config", "/a", ""},
		"/b":          {"containerd", "--config=/b"},
		"/c":          {"containerd", "-l", "info", "-c", "/c"},
		"/d":          {"containerd", "-c=/d", "--root", "/x"},
		"/e":          {"containerd", "-config", "/e"},
	} {
		if got := configOf(args); got != want {
			t.Errorf("%q: %q, not %q", args, got, want)
		}
	}
}
