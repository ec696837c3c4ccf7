package cri

import (
	"strings"
	"testing"
)

// settled are settings with which nothing is wrong.
func settled() *settings {
	var s settings
	s.Containerd.DefaultRuntimeName = "runc"
	s.Containerd.Runtimes = map[string]runtimeSettings{"runc": {RuntimeType: "io.containerd.runc.v2"}}
	s.CNI.BinDirs, s.CNI.ConfDir, s.CNI.MaxConfNum = []string{cniPrograms}, cniConfigs, 1
	s.RestrictOOMScoreAdj = true
	return &s
}

func TestSettings(t *testing.T) {
	runc := func(s *settings, r runtimeSettings) { s.Containerd.Runtimes["runc"] = r }
	for want, change := range map[string]func(*settings){
		"":                            func(*settings) {},
		`default_runtime_name is "x"`: func(s *settings) { s.Containerd.DefaultRuntimeName = "x" },
		"which is not runc":           func(s *settings) { runc(s, runtimeSettings{RuntimeType: "io.containerd.kata.v2"}) },
		"snapshotter of its runtime":  func(s *settings) { runc(s, runtimeSettings{RuntimeType: runcType, Snapshotter: "zfs"}) },
		"cni_conf_dir of its own":     func(s *settings) { runc(s, runtimeSettings{RuntimeType: runcType, CNIConfDir: "/x"}) },
		"/opt/cni/bin is not":         func(s *settings) { s.CNI.BinDirs = []string{"/usr/lib/cni"} },
		`conf_dir "/x"`:               func(s *settings) { s.CNI.ConfDir = "/x" },
		`conf_template "/x"`:          func(s *settings) { s.CNI.ConfTemplate = "/x" },
		"max_conf_num 0":              func(s *settings) { s.CNI.MaxConfNum = 0 },
	} {
		s := settled()
		change(s)
		var f Found
		if err := f.judgeSettings(s); err != nil {
			t.Error(err)
		}
		if got := strings.Join(f.Unfit, "; "); (got == "") != (want == "") || !strings.Contains(got, want) {
			t.Errorf("want %q, got %q", want, got)
		}
	}
	older := settled()
	older.CNI.BinDirs, older.CNI.BinDir = nil, cniPrograms
	var f Found
	if err := f.judgeSettings(older); err != nil || f.Unfit != nil {
		t.Errorf("%v, %v", f.Unfit, err)
	}
}
