package cmd

import (
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"slipway.dev/slipway/bootstrap/config"
	"slipway.dev/slipway/internal/fault"
)

// tried takes the # from all settings of an example.
func tried(text string) string {
	return regexp.MustCompile(`(?m)^#(\S|  )`).ReplaceAllString(text, "$1")
}

// TestExamplesAreDefaults: as it is, each example is as if no file was given, and it shows all fields that there are.
func TestExamplesAreDefaults(t *testing.T) {
	for kind, k := range kinds {
		t.Run(kind, func(t *testing.T) {
			text, _, err := run(t, "config", "init", "--kind", kind)
			if err != nil {
				t.Fatal(err)
			}
			path := configFile(t, kind, "")
			write(t, path, []byte(text))
			c := k.command(&options{})
			if err := c.ParseFlags([]string{"--config", path}); err != nil {
				t.Fatal(err)
			}
			if err := c.PreRunE(c, nil); err != nil {
				t.Fatal(err)
			}
			none := k.command(&options{})
			for name, r := range documented(t, kind) {
				if f := c.Flag(r.flag); f != nil && f.Value.String() != none.Flag(r.flag).Value.String() {
					t.Errorf("%s is %s, without a file it is %s", name, f.Value, none.Flag(r.flag).Value)
				}
			}
			for name := range fieldsOf(reflect.TypeOf(k.fields)) {
				if !regexp.MustCompile(`(?m)^` + name + `:`).MatchString(tried(text)) {
					t.Errorf("the example does not show %s", name)
				}
			}
			write(t, path, []byte(tried(text)))
			if err := c.PreRunE(c, nil); err != nil {
				t.Errorf("with all settings: %v", err)
			}
		})
	}
}

func TestConfigInit(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.yaml")
	for _, tt := range []struct {
		args, id string
		mode     os.FileMode
	}{
		{"", "", 0o644}, {"", "file-exists", 0o644}, {"--kind JoinConfiguration", "file-exists", 0o644},
		{"--kind JoinConfiguration --force", "", 0o600}, {"--kind X", "option-invalid", 0o600},
	} {
		before, _ := os.ReadFile(path)
		_, _, err := run(t, append([]string{"config", "init", path}, strings.Fields(tt.args)...)...)
		if tt.id != "" {
			wantFault(t, err, tt.id)
		} else if err != nil {
			t.Fatal(err)
		}
		after, rerr := os.ReadFile(path)
		st, serr := os.Stat(path)
		if rerr != nil || serr != nil || st.Mode() != tt.mode || (tt.id != "") != (string(before) == string(after)) {
			t.Errorf("config init %s: %v, mode %v, was %q and is %q", tt.args, err, st.Mode(), before, after)
		}
	}
	if _, _, err := run(t, "config", "schema", "X"); err == nil {
		t.Error("there is a schema of X")
	}
	for _, kind := range config.Kinds() {
		if text, _, err := run(t, "config", "schema", kind); err != nil || !strings.Contains(text, `"title": "`+kind+`"`) {
			t.Errorf("the schema of %s is %s: %v", kind, text, err)
		}
	}
}

// TestUpConfigProblems: all that is wrong in a file is said at once, each with its line, and what the command line says is not the file's fault.
func TestUpConfigProblems(t *testing.T) {
	path := configFile(t, config.LocalKind, `podCidr: 10.244.0.0/16
workers: many
controlPlanes: 2
serviceCIDR: fd00::/112,10.96.0.0/16
cni: cilium
dnsDomain: "-"
name: X
featureGates:
  UserNamespaceSupport: true
  GenericWorkload: true
apiServer:
  extraArgs:
    etcd-servers: https://x
    --v: 2
    enable-admission-plugins: AlwaysPullImages
    max-request-inflight: 3
kubelet:
  maxPods: lots
  staticPodPath: /x
  evictionHard: {memory.available: 5}
  kind: Kubelet
mounts:
- hostPath: /
  nodePath: /var
- {hostPath: /nowhere, nodePath: mnt, role: boss}
roles:
  worker:
    labels: {node-role.kubernetes.io/worker: ""}
    taints: [{key: a, effect: Never}]
`)
	args := []string{"up", "--config", path, "--pod-cidr", "x"}
	_, _, err := run(t, args...)
	var got []string
	for _, f := range fault.All(err) {
		got = append(got, strings.ReplaceAll(f.Error(), path, "F"))
		if f.Next == "" {
			t.Errorf("%v has no advice", f)
		}
	}
	for _, want := range []string{
		`read "F:3": there is no field "podCidr"; did you mean "podCIDR"?`, "read \"F:4\": it must be a whole number, not `many`",
		`use controlPlanes 2 of "F:5": etcd`, `use serviceCIDR "fd00::/112,10.96.0.0/16" of "F:6": the IPv4 network must be the first`,
		`use cni "cilium" of "F:7"`, `use dnsDomain "-" of "F:8"`, `use name "X" of "F:9"`, `use --pod-cidr "x": `,
		`use featureGates.UserNamespaceSupport of "F:11": there is no feature gate of that name in Kubernetes v1.37.1; did you mean "UserNamespacesSupport"?`,
		`use apiServer.extraArgs.etcd-servers of "F:15": Slipway sets it itself`, `use apiServer.extraArgs.--v of "F:16": write a flag's name without`,
		`use apiServer.extraArgs.max-request-inflight of "F:18": kube-apiserver v1.37.1 has no flag of that name; did you mean "max-requests-inflight"?`,
		`use kubelet.maxPods of "F:20": it must be a number`, `use kubelet.staticPodPath of "F:21": Slipway sets it itself`,
		`use kubelet.evictionHard.memory.available of "F:22": it must be a text`, `use kubelet.kind of "F:23": it must be "KubeletConfiguration"`,
		`use mounts.0.nodePath of "F:26": the machine needs its own`, `use mounts.1.hostPath of "F:27": this computer has no "/nowhere"`,
		`use mounts.1.nodePath of "F:27": "mnt" is not an absolute path`, `use mounts.1.role of "F:27": "boss" is no role`,
		`use roles.worker.labels.node-role.kubernetes.io/worker of "F:30": a node may not`, `use roles.worker.taints.0 of "F:31": its effect is "Never"`,
	} {
		found := false
		for i, text := range got {
			if strings.HasPrefix(text, want) {
				got, found = append(got[:i:i], got[i+1:]...), true
				break
			}
		}
		if !found {
			t.Errorf("nothing says %s", want)
		}
	}
	if len(got) > 0 {
		t.Errorf("and it says:\n%s", strings.Join(got, "\n"))
	}
}
