// Command known writes which feature gates and flags the components of a Kubernetes version have, which package
// bootstrap/settings refuses others by: go run ./hack/known VERSION DIRECTORY, for each version that there is a bundle of.
//
// The directory is where a bundle of that version is unpacked (below SLIPWAY_CACHE/store), whose programs are asked; what gates
// exist that --help does not show, because they are GA, is in Kubernetes' own list, in the module that the bundle was built from.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
	"golang.org/x/mod/semver"
)

const listOfGates = "test/compatibility_lifecycle/reference/versioned_feature_list.yaml"

// components are all that are given feature gates; the first three also arguments.
func components() []string {
	return []string{"kube-apiserver", "kube-controller-manager", "kube-scheduler", "kube-proxy", "kubelet"}
}

func main() {
	if err := run(context.Background(), os.Args[1:]); err != nil { //nolint:forbidigo // a program of its own
		fmt.Fprintln(os.Stderr, "known:", err)
		os.Exit(1) //nolint:forbidigo // a program of its own
	}
}

func run(ctx context.Context, args []string) error {
	if len(args) != 2 {
		return fmt.Errorf("usage: go run ./hack/known VERSION DIRECTORY")
	}
	gates, err := listed(ctx, args[0])
	if err != nil {
		return err
	}
	has := map[string]map[string]string{}
	var flags []string
	for i, c := range components() {
		text, err := help(ctx, args[1], c)
		if err != nil {
			return err
		}
		has[c] = shown(text)
		maps.Copy(gates, has[c])
		for _, m := range regexp.MustCompile(`(?m)^ +(?:-\w, )?--([a-z0-9-]+)`).FindAllSubmatch(text, -1) {
			if i < 3 {
				flags = append(flags, "flag "+c+" "+string(m[1]))
			}
		}
	}
	var out []string
	for name, what := range gates {
		out = append(out, "gate "+name+" "+what)
		for _, c := range components() {
			if _, ok := has[c][name]; !ok && slices.ContainsFunc(components(), func(o string) bool { return has[o][name] != "" }) {
				out = append(out, "lacks "+c+" "+name)
			}
		}
	}
	out = append(out, flags...)
	slices.Sort(out)
	file := filepath.Join("bootstrap/settings/known", semver.MajorMinor(args[0])+".txt")
	return os.WriteFile(file, []byte(strings.Join(slices.Compact(out), "\n")+"\n"), 0o600)
}

// listed gives the gates of Kubernetes' own list as they are in this version: stage, default, and whether that is fixed.
func listed(ctx context.Context, version string) (map[string]string, error) {
	cmd := exec.CommandContext(ctx, "go", "mod", "download", "-json", "k8s.io/kubernetes@"+version)
	text, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("%v: %w", cmd.Args, err)
	}
	var module struct{ Dir string }
	if err := json.Unmarshal(text, &module); err != nil {
		return nil, err
	}
	if text, err = os.ReadFile(filepath.Join(module.Dir, listOfGates)); err != nil {
		return nil, err
	}
	var all []struct {
		Name           string `yaml:"name"`
		VersionedSpecs []struct {
			Default       bool   `yaml:"default"`
			LockToDefault bool   `yaml:"lockToDefault"`
			PreRelease    string `yaml:"preRelease"`
			Version       string `yaml:"version"`
		} `yaml:"versionedSpecs"`
	}
	if err := yaml.Unmarshal(text, &all); err != nil {
		return nil, err
	}
	out := map[string]string{}
	for _, g := range all {
		for _, s := range g.VersionedSpecs { // in the order of versions
			if semver.Compare("v"+s.Version, semver.MajorMinor(version)) <= 0 {
				out[g.Name] = fmt.Sprint(strings.ToUpper(s.PreRelease), " ", s.Default)
				if s.LockToDefault {
					out[g.Name] += " locked"
				}
			}
		}
	}
	return out, nil
}

func help(ctx context.Context, dir, component string) ([]byte, error) {
	program := ""
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() && d.Name() == component && strings.Contains(path, "/bin/") {
			program = path
			return fs.SkipAll
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	text, err := exec.CommandContext(ctx, program, "--help").Output()
	if err != nil {
		return nil, fmt.Errorf("ask %s in %q for its flags: %w", component, dir, err)
	}
	return bytes.ReplaceAll(text, []byte("kube:"), nil), nil
}

// shown gives the gates that --help shows. None of them is fixed.
func shown(help []byte) map[string]string {
	out := map[string]string{}
	for _, m := range regexp.MustCompile(`\b([A-Z]\w+)=true\|false \(([A-Z]+) - default=(true|false)\)`).FindAllSubmatch(help, -1) {
		out[string(m[1])] = string(m[2]) + " " + string(m[3])
	}
	return out
}
