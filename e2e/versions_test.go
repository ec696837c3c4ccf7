package e2e_test

import (
	"testing"
)

// TestOlderVersions launches the other supported minors with one node, which takes workloads.
func TestOlderVersions(t *testing.T) {
	need(t)
	for _, minor := range []string{"1.35", "1.36"} {
		t.Run(minor, func(t *testing.T) {
			writeForeign(t)
			slipway(t, "images", "build", "--kubernetes-version", minor)
			before := takeInventory(t)
			c := launch(t, "a", "--kubernetes-version", minor)
			checkNodes(t, 1, "v"+minor+".")
			eventually(t, "kube-system pods Ready", readyLimit, func() error { return systemPodsReady(t) })
			loadEcho(t, c)
			c.kubectl(t, "run", "echo", "--image="+echoImage, "--image-pull-policy=Never", "--", "serve")
			c.kubectl(t, "wait", "pod/echo", "--for=condition=Ready", "--timeout=60s")
			c.kubectl(t, "exec", "echo", "--", "/echo", "get", "http://localhost:8080/")
			slipway(t, "down", "a")
			before.compare(t, takeInventory(t))
		})
	}
}
