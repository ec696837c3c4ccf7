package e2e_test

import (
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"slipway.dev/slipway/internal/testenv/testregistry"
)

// registries runs two with the same content, as two processes can read one directory.
func (i *imagesTest) registries(t *testing.T) {
	t.Helper()
	i.registry = testregistry.Start(t, testregistry.Options{})
	i.private = testregistry.Start(t, testregistry.Options{TLS: true, Name: privateName, Data: i.registry.Data})
	for _, repository := range []string{"library/mirrored", "own", "private"} {
		ref, err := name.ParseReference(i.registry.Addr+"/"+repository+":1", name.Insecure)
		if err == nil {
			err = remote.Write(ref, i.image(t, repository))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

func portOf(r *testregistry.Registry) string {
	_, port, _ := strings.Cut(r.Addr, ":")
	return port
}

// mirrors pulls from a registry that listens on this computer's loopback, in place of another and by its own names.
func (i *imagesTest) mirrors(t *testing.T) {
	for pod, image := range map[string]string{
		"mirrored": "mirrored:1",
		"own":      i.registry.Addr + "/own:1",
		"private":  privateName + ":" + portOf(i.private) + "/private:1",
	} {
		t.Run(pod, func(t *testing.T) { i.runs(t, pod, image, "Always") })
	}
	for _, node := range i.nodes() {
		r := invocation{args: []string{"ssh", i.name, node, "--", "ip", "route", "get", "198.51.100.1"}}.run(t)
		if r.code == 0 {
			t.Errorf("%s could have got images elsewhere: %v", node, r)
		}
	}
}
