package e2e_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/clientcmd/api"
)

// checkServersOf wants the Service of the API to lead to this cluster's own API server only, and its authority to be known.
func checkServersOf(t *testing.T, c cluster) {
	t.Helper()
	addresses := c.kubectl(t, "get", "endpointslice", "kubernetes", "-o", "jsonpath={.endpoints[*].addresses[*]}")
	nodes := c.kubectl(t, "get", "node", "snap-cp-1", "-o", "jsonpath={.status.addresses[?(@.type=='InternalIP')].address}")
	if addresses != nodes {
		t.Errorf("the API is at %q, the control plane at %q", addresses, nodes)
	}
}

// apart wants two clusters to have nothing in common: neither lets the other's administrators in, nor its programs, and what is
// written to one is not in the other.
func (s *saving) apart(t *testing.T, twin saving) {
	t.Helper()
	a, b := s.clientOf(t, s.name, s.name), s.clientOf(t, "twin", "twin")
	for name, c := range map[string]*kubernetes.Clientset{
		"snap's server with twin's certificate": s.clientOf(t, s.name, "twin"),
		"twin's server with snap's certificate": s.clientOf(t, "twin", s.name),
	} {
		if _, err := c.CoreV1().Nodes().List(t.Context(), metav1.ListOptions{}); err == nil || !strings.Contains(err.Error(), "Unauthorized") {
			t.Errorf("%s: %v", name, err)
		}
	}
	tokens := map[string]string{}
	for name, c := range map[string]*kubernetes.Clientset{s.name: a, "twin": b} {
		eventually(t, name+" has a token of its own", time.Minute, func() error {
			secret, err := c.CoreV1().Secrets("default").Get(t.Context(), "token", metav1.GetOptions{})
			if err != nil || len(secret.Data["token"]) == 0 {
				return fmt.Errorf("token: %d bytes, %w", len(secret.Data["token"]), err)
			}
			tokens[name] = string(secret.Data["token"])
			return nil
		})
	}
	for _, server := range []string{s.name, "twin"} {
		for _, of := range []string{s.name, "twin"} {
			err := s.asToken(t, server, tokens[of])
			if in := err != nil && strings.Contains(err.Error(), "forbidden"); in != (server == of) { // who is known has no right
				t.Errorf("%s's token at %s: %v", of, server, err)
			}
		}
	}
	mapOf := func(c *kubernetes.Clientset) string {
		m, err := c.CoreV1().ConfigMaps("default").Get(t.Context(), "kube-root-ca.crt", metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		return m.Data["ca.crt"]
	}
	config := s.configOf(t, "twin")
	if mapOf(a) == mapOf(b) || mapOf(b) != string(config.Clusters[config.Contexts[config.CurrentContext].Cluster].CertificateAuthorityData) {
		t.Error("the authority that programs in the twin are told is not its own")
	}
	for _, c := range []cluster{s.cluster, twin.cluster} {
		trusted := c.kubectl(t, "-n", "kube-system", "get", "configmap", "extension-apiserver-authentication", "-o", "jsonpath={.data.client-ca-file}")
		if n := strings.Count(trusted, "BEGIN CERTIFICATE"); n != 1 {
			t.Errorf("%s trusts %d authorities", c.name, n)
		}
	}
	s.kubectl(t, "create", "configmap", "writable")
	twin.kubectl(t, "create", "configmap", "mine")
	if r := s.try(t, "get", "configmap", "mine"); r.code == 0 {
		t.Error("what was written to the twin is in the first")
	}
	if r := twin.try(t, "get", "configmap", "writable"); r.code == 0 {
		t.Error("what was written to the first is in the twin")
	}
}

// clientOf speaks to one cluster with the administrator's certificate of one.
func (s *saving) clientOf(t *testing.T, server, user string) *kubernetes.Clientset {
	t.Helper()
	to, as := s.configOf(t, server), s.configOf(t, user)
	for name := range to.AuthInfos {
		for _, info := range as.AuthInfos {
			to.AuthInfos[name] = info
		}
	}
	config, err := clientcmd.NewDefaultClientConfig(*to, nil).ClientConfig()
	if err != nil {
		t.Fatal(err)
	}
	c, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func (s *saving) configOf(t *testing.T, name string) *api.Config {
	t.Helper()
	c, err := clientcmd.Load([]byte(slipway(t, "kubeconfig", name).stdout))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func (s *saving) asToken(t *testing.T, server, token string) error {
	t.Helper()
	config, err := clientcmd.NewDefaultClientConfig(*s.configOf(t, server), nil).ClientConfig()
	if err != nil {
		t.Fatal(err)
	}
	config.CertData, config.KeyData, config.BearerToken = nil, nil, token
	c, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	_, err = c.CoreV1().Nodes().List(context.WithoutCancel(t.Context()), metav1.ListOptions{})
	return err
}

// TestSnapshotControlPlanes saves three control planes while somebody writes, makes another cluster of them, and puts them back.
func TestSnapshotControlPlanes(t *testing.T) {
	need(t)
	before := takeInventory(t)
	begin := time.Now()
	s := &saving{growing: growing{cluster: launch(t, "snap", "--control-planes", "3"), dir: t.TempDir()}, up: time.Since(begin)}
	buildWriter(t, s.dir)
	s.kubectl(t, "create", "namespace", haNamespace)
	w := s.here(t, "saved", 2*freezeLimit) // a freeze is no failure
	w.goesOn(t)
	s.saved = w.acknowledgedSoFar()
	r := slipway(t, "snapshot", "save", s.name, "three")
	t.Log(r.stdout)
	w.goesOn(t)
	if all := w.end(t); len(all.lost) > 0 || all.failed > 0 {
		t.Errorf("lost %q, failed %d", all.lost, all.failed)
	}
	removeAtEnd(t, "twin")
	begin = time.Now()
	r = slipway(t, "up", "--from", "three", "--name", "twin", "--egress=false", "--wait", "5m", "-o", "json")
	t.Logf("up --from took %.1f s, up %.1f s", time.Since(begin).Seconds(), s.up.Seconds())
	logSteps(t, r.stdout)
	twin := cluster{name: "twin"}
	checkMembersFrom(t, twin, "snap-cp-1")
	s.hasSaved(t, twin)
	slipway(t, "down", "twin")
	begin = time.Now()
	slipway(t, "snapshot", "restore", s.name, "three", "--wait", "5m")
	t.Logf("restore took %.1f s", time.Since(begin).Seconds())
	checkMembers(t, s.cluster)
	s.hasSaved(t, s.cluster)
	slipway(t, "down", s.name)
	slipway(t, "snapshot", "delete", s.name, "three")
	before.compare(t, takeInventory(t))
}

// removeAtEnd removes a cluster that the test did not come to remove.
func removeAtEnd(t *testing.T, name string) {
	t.Helper()
	t.Cleanup(func() {
		if _, err := os.Stat(filepath.Join(os.Getenv(stateVar), "clusters", name)); err == nil {
			if out, err := exec.Command(binary(), "down", name).CombinedOutput(); err != nil {
				t.Errorf("remove cluster %q: %v\n%s", name, err, out)
			}
		}
	})
}

// hasSaved wants all that was acknowledged before the snapshot.
func (s *saving) hasSaved(t *testing.T, c cluster) {
	t.Helper()
	got := c.kubectl(t, "get", "configmaps", "-A", "-o", "name")
	for _, name := range s.saved {
		if !strings.Contains(got, "/"+name+"\n") {
			t.Fatalf("%q was acknowledged before the snapshot, and is not in %s", name, c.name)
		}
	}
}

// killAt ends a command the hard way when a step has started.
func killAt(t *testing.T, step string, args ...string) {
	t.Helper()
	killAtEvent(t, "started", step, args...)
}

// inTime has something end a command in a step, which may take less than a second: what came too late is tried again.
func inTime(t *testing.T, step string, end func() (in bool)) {
	t.Helper()
	const tries = 5
	for range tries {
		if end() {
			return
		}
		t.Logf("step %s was over", step)
	}
	t.Errorf("each time step %s was over: this tests nothing", step)
}

// dropSaved tells whether a save came to its end that was to be stopped before, and deletes what it made.
func (s *saving) dropSaved(t *testing.T, name string) bool {
	t.Helper()
	if _, err := os.Stat(snapshotDir(s.name, name)); err != nil {
		return false
	}
	slipway(t, "snapshot", "delete", s.name, name)
	return true
}

// is tells whether the cluster is in that state. In another one it may be that the API does not answer.
func (s *saving) is(t *testing.T, state string) bool {
	t.Helper()
	r := invocation{args: []string{"status", s.name}}.run(t)
	return strings.Contains(r.stdout, "cluster "+s.name+": "+state+"\n")
}

func killAtEvent(t *testing.T, state, step string, args ...string) {
	t.Helper()
	cmd := exec.Command(binary(), args...)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	seen := false
	for s := bufio.NewScanner(out); s.Scan(); {
		var e struct{ State, Step string }
		if json.Unmarshal(s.Bytes(), &e) == nil && e.State == state && (step == "" || e.Step == step) && !seen {
			seen = true
			_ = cmd.Process.Kill() // or it has just ended
		}
	}
	_ = cmd.Wait()
	if !seen {
		t.Errorf("%q said nothing of a step %s that has %s", args, step, state)
	}
}
