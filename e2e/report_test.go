package e2e_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// reportManifest has what a user would not like to publish, in places where users put it, and a pod that has something to say.
const reportManifest = `
apiVersion: v1
kind: Secret
metadata: {name: known}
stringData: {word: in-a-secret-8c1f}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: known}
data: {word: in-a-configmap-8c1f}
---
apiVersion: v1
kind: Pod
metadata: {name: talker}
spec:
  restartPolicy: Never
  containers:
  - name: talker
    image: %[1]s
    imagePullPolicy: Never
    command: [sh, -c, 'echo hello from the talker; echo "Authorization: Bearer in-a-log-8c1f"']
    env: [{name: WORD, value: in-a-variable-8c1f}]
`

// TestReport lets the doctor look at a computer and a cluster, well and not, and exports what a report of a bug needs.
func TestReport(t *testing.T) {
	need(t)
	before := takeInventory(t)
	if r := slipway(t, "doctor"); !strings.Contains(r.stdout, "machines can be made here") {
		t.Errorf("%v", r)
	}
	launch(t, "flt", "--workers", "1")
	for _, step := range []struct {
		name string
		run  func(*testing.T)
	}{{"doctor", checkDoctor}, {"export", checkExport}, {"stopped", checkExportStopped}} {
		t.Run(step.name, step.run)
	}
	slipway(t, "down", "flt")
	before.compare(t, takeInventory(t))
}

// diagnosis is what `slipway doctor NAME -o json` prints, as far as it is looked at here.
type diagnosis struct {
	State, Level string
	Checks       []struct{ Name, Level string }
	Nodes        []struct {
		Name   string
		Report *struct {
			Level  string
			Checks []struct{ Name, Level string }
		}
	}
}

func checkDoctor(t *testing.T) {
	var d diagnosis
	eventually(t, "all is well", 2*time.Minute, func() error { // just after a launch there are warnings of what still starts, and no problems
		r := slipway(t, "doctor", "flt", "-o", "json")
		d = diagnosis{}
		if err := json.Unmarshal([]byte(r.stdout), &d); err != nil || d.Level != "ok" {
			return fmt.Errorf("%w: %s", err, r.stdout)
		}
		return nil
	})
	if len(d.Checks) < 7 || len(d.Nodes) != 2 {
		t.Errorf("%+v", d)
	}
	for _, n := range d.Nodes {
		if n.Report == nil || n.Report.Level != "ok" || len(n.Report.Checks) < 8 {
			t.Errorf("node %s: %+v", n.Name, n.Report)
		}
	}
	slipway(t, "ssh", "flt", "flt-worker-1", "--", "systemctl", "stop", "kubelet")
	r := invocation{args: []string{"doctor", "flt"}}.run(t)
	refusal{id: "cluster-unhealthy", says: "flt-worker-1"}.check(t, r)
	if !strings.Contains(r.stdout, "kubelet.service") {
		t.Errorf("it does not name the unit: %v", r)
	}
	slipway(t, "ssh", "flt", "flt-worker-1", "--", "systemctl", "start", "kubelet")
	slipway(t, "start", "flt") // waits until all is well
}

func checkExport(t *testing.T) {
	image := flt.kubectl(t, "-n", "kube-system", "get", "daemonset", "kube-proxy", "-o", "jsonpath={.spec.template.spec.containers[0].image}")
	flt.apply(t, strings.ReplaceAll(reportManifest, "%[1]s", image))
	flt.kubectl(t, "wait", "pod/talker", "--for=jsonpath={.status.phase}=Succeeded", "--timeout=2m")
	dir := filepath.Join(t.TempDir(), "report")
	slipway(t, "logs", "flt", "--export", dir)
	files := readReport(t, dir)
	for name, says := range map[string]string{
		"cluster.json": `"subnet"`, "doctor.json": `"level":`, "version.txt": "Kubernetes v1.", "objects/nodes.yaml": "flt-worker-1",
		"objects/pods.yaml": "talker", "objects/events.yaml": "talker", "nodes/flt-cp-1/manifests/kube-apiserver.yaml": "--etcd-servers",
		"nodes/flt-cp-1/kubelet.log": "kubelet", "nodes/flt-worker-1/containerd.log": "containerd", "nodes/flt-cp-1/journal.log": "systemd",
		"nodes/flt-worker-1/network.txt": "vxlan",
	} {
		if !strings.Contains(string(files[name]), says) {
			t.Errorf("%s does not say %q: %.300s", name, says, files[name])
		}
	}
	talked := false
	for name, data := range files {
		talked = talked || strings.Contains(name, "talker") && strings.Contains(string(data), "hello from the talker")
		for what, secret := range reportSecrets(t) {
			if bytes.Contains(data, []byte(secret)) {
				t.Errorf("%s has %s in it", name, what)
			}
		}
	}
	if !talked {
		t.Error("the log of the pod is not there")
	}
	if problems, there := files["problems.txt"]; there {
		t.Errorf("of a cluster that is well, it could not have: %s", problems)
	}
	refusal{id: "export-exists", says: dir}.check(t, invocation{args: []string{"logs", "flt", "--export", dir}}.run(t))
}

// readReport wants all of it to be root's alone.
func readReport(t *testing.T, dir string) map[string][]byte {
	t.Helper()
	out, size := map[string][]byte{}, 0
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil || info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s: mode %v, %v", path, info.Mode(), err)
		}
		if d.Type().IsRegular() {
			name, _ := filepath.Rel(dir, path)
			out[name], err = os.ReadFile(path)
			size += len(out[name])
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d files, %d kB", len(out), size>>10)
	return out
}

// reportSecrets are parts of all that is secret: the middle of each key on the nodes and of those on this computer, tokens, and
// what users would not publish.
func reportSecrets(t *testing.T) map[string]string {
	t.Helper()
	out := map[string]string{
		"a Secret": "in-a-secret-8c1f", "a Secret, encoded": base64.StdEncoding.EncodeToString([]byte("in-a-secret-8c1f")),
		"a ConfigMap": "in-a-configmap-8c1f", "a variable": "in-a-variable-8c1f", "a bearer token in a log": "in-a-log-8c1f", "a private key": "PRIVATE KEY-----\n",
	}
	for _, m := range clusterMachines(t, "flt") {
		text := runHere(t, "nsenter", "--mount", "--target", fmt.Sprint(m.Pid()), "sh", "-c",
			`grep -rls -e "PRIVATE KEY" -e client-key-data -e "secret:" /etc/kubernetes /var/lib/kubelet/pki /etc/ssh | while read f; do echo "=$f"; cat "$f"; done; true`)
		file := ""
		for line := range strings.Lines(text) {
			line = strings.TrimSpace(line)
			if name, ok := strings.CutPrefix(line, "="); ok && strings.HasPrefix(name, "/") {
				file = m.Name() + ":" + name
				continue
			}
			line = strings.TrimPrefix(strings.TrimPrefix(line, "client-key-data: "), "secret: ")
			if len(line) >= 40 && !strings.ContainsAny(line, " -:") && !strings.Contains(file, ".crt") {
				out["line of "+file] = line[:40]
			}
		}
	}
	if len(out) < 15 {
		t.Errorf("only %d secrets were found: %v", len(out), out)
	}
	for _, name := range []string{"ssh_key"} {
		data, err := os.ReadFile(filepath.Join(os.Getenv(stateVar), "clusters", "flt", name))
		if err != nil {
			t.Fatal(err)
		}
		out[name] = strings.Split(string(data), "\n")[2]
	}
	return out
}

// checkExportStopped exports what can be had of a cluster of which nobody answers.
func checkExportStopped(t *testing.T) {
	slipway(t, "stop", "flt")
	if r := slipway(t, "doctor", "flt"); !strings.Contains(r.stdout, "is stopped") {
		t.Errorf("%v", r)
	}
	dir := filepath.Join(t.TempDir(), "report")
	slipway(t, "logs", "flt", "--export", dir)
	files := readReport(t, dir)
	if len(files["cluster.json"]) == 0 || strings.Count(string(files["problems.txt"]), "stopped") != 3 { // two machines, and the API
		t.Errorf("it has %d files; problems: %s", len(files), files["problems.txt"])
	}
	if left, _ := filepath.Glob(filepath.Join(filepath.Dir(dir), ".*")); len(left) > 0 {
		t.Errorf("left: %q", left)
	}
}
