package e2e_test

import (
	"fmt"
	"strings"
	"testing"
)

const plain = "in-plain-sight-4711"

const configurationManifest = `
apiVersion: v1
kind: ConfigMap
metadata: {name: settings}
data: {colour: blue}
---
apiVersion: v1
kind: Secret
metadata: {name: password}
stringData: {word: %[1]s}
---
apiVersion: v1
kind: Pod
metadata: {name: configured}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - name: echo
    image: slipway.test/echo:1
    imagePullPolicy: Never
    args: [serve]
    env:
    - {name: COLOUR, valueFrom: {configMapKeyRef: {name: settings, key: colour}}}
    - {name: WORD, valueFrom: {secretKeyRef: {name: password, key: word}}}
    volumeMounts:
    - {name: settings, mountPath: /settings}
    - {name: password, mountPath: /password}
  volumes:
  - {name: settings, configMap: {name: settings}}
  - {name: password, secret: {secretName: password}}
`

func checkConfiguration(t *testing.T, c cluster) {
	c.apply(t, fmt.Sprintf(configurationManifest, plain))
	c.kubectl(t, "wait", "pod/configured", "--for=condition=Ready", "--timeout=60s")
	for _, tt := range []struct{ command, argument, want string }{
		{"env", "COLOUR", "blue"}, {"env", "WORD", plain},
		{"cat", "/settings/colour", "blue"}, {"cat", "/password/word", plain},
	} {
		if got := c.kubectl(t, "exec", "configured", "--", "/echo", tt.command, tt.argument); got != tt.want {
			t.Errorf("%s %s: %q, want %q", tt.command, tt.argument, got, tt.want)
		}
	}
	if got := etcdValue(t, c, "/registry/configmaps/default/settings"); !strings.Contains(got, "blue") {
		t.Errorf("etcd's raw value of a ConfigMap is %q: the next check would prove nothing", got)
	}
	got := etcdValue(t, c, "/registry/secrets/default/password")
	if !strings.Contains(got, "k8s:enc:") || strings.Contains(got, plain) {
		t.Errorf("etcd's raw value of a Secret is %q", got)
	}
}

// etcdValue reads past the API server, on the control plane itself.
func etcdValue(t *testing.T, c cluster, key string) string {
	t.Helper()
	const pki = "/etc/kubernetes/pki/etcd/"
	return slipway(t, "ssh", c.name, c.name+"-cp-1", "--", "etcdctl", "--endpoints=https://127.0.0.1:2379",
		"--cacert="+pki+"ca.crt", "--cert="+pki+"healthcheck-client.crt", "--key="+pki+"healthcheck-client.key",
		"get", key, "--print-value-only").stdout
}
