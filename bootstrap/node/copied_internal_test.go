package node

import (
	"bytes"
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer/protobuf"
	"k8s.io/client-go/kubernetes/scheme"

	"slipway.dev/slipway/bootstrap"
	"slipway.dev/slipway/bootstrap/engine"
)

// TestChanged wants what an API server would have written, also of what it kept as JSON, and nothing of what is not readable.
func TestChanged(t *testing.T) {
	m := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "kept", Labels: map[string]string{"a": "b"}}, Data: map[string]string{"key": "old"}}
	codec := scheme.Codecs.EncoderForVersion(protobuf.NewSerializer(scheme.Scheme, scheme.Scheme), corev1.SchemeGroupVersion)
	old := encoded(t, codec, m)
	m.Data["key"] = "new"
	want := encoded(t, codec, m)
	write := func(m *corev1.ConfigMap) { m.Data["key"] = "new" }
	for name, data := range map[string][]byte{
		"protobuf": old, "JSON": encoded(t, scheme.Codecs.LegacyCodec(corev1.SchemeGroupVersion), m),
	} {
		if got, err := changed(data, write); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s: got %q, %v, want %q", name, got, err, want)
		}
	}
	for _, data := range [][]byte{[]byte("k8s:enc:secretbox:v1:key1:x"), encoded(t, codec, &corev1.Node{}), {}} {
		if got, err := changed(data, write); err == nil {
			t.Errorf("of %q: %q", data, got)
		}
	}
}

func encoded(t *testing.T, codec runtime.Encoder, o runtime.Object) []byte {
	t.Helper()
	data, err := runtime.Encode(codec, o)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// TestCopiedSteps wants every control plane to wait for the data before its API server, and the first one to take tokens out too.
func TestCopiedSteps(t *testing.T) {
	for i, s := range testSpecs(t) {
		s.Copied = []bootstrap.Node{s.Node}
		n := testBuilder(t, s)
		n.host = testHost(t)
		got, steps := map[string][]string{}, n.steps()
		if err := engine.Validate(steps); err != nil {
			t.Errorf("node %d: %v", i+1, err)
		}
		for _, step := range steps {
			got[step.Name] = step.Needs
		}
		if _, has := got["copied-data"]; has != s.Node.ControlPlane {
			t.Errorf("node %d has a step for the data: %v", i+1, has)
		}
		if s.Node.ControlPlane && !slices.Contains(got["static-pods"], "copied-data") {
			t.Errorf("node %d: the API server waits for %q", i+1, got["static-pods"])
		}
		if s.Node.Init && !slices.Contains(got["controllers"], "copied-tokens") {
			t.Errorf("node %d: the controllers wait for %q", i+1, got["controllers"])
		}
	}
}
