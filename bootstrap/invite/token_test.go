package invite_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"slipway.dev/slipway/bootstrap/discovery"
	"slipway.dev/slipway/bootstrap/invite"
)

func parse(t *testing.T, text string) discovery.Token {
	t.Helper()
	token, err := discovery.ParseToken(text)
	if err != nil {
		t.Fatal(err)
	}
	return token
}

func create(t *testing.T, c kubernetes.Interface, text string, ttl time.Duration) {
	t.Helper()
	if err := invite.CreateToken(t.Context(), c, parse(t, text), ttl, "of "+text[:6]); err != nil {
		t.Fatal(err)
	}
}

func tokens(t *testing.T, c kubernetes.Interface) []invite.TokenInfo {
	t.Helper()
	list, err := invite.Tokens(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	return list
}

func ids(list []invite.TokenInfo) string {
	var out []string
	for _, one := range list {
		out = append(out, one.ID)
	}
	return strings.Join(out, " ")
}

// TestCreateTokenIsKubeadms holds the Secret against what is documented of bootstrap tokens:
// https://kubernetes.io/docs/reference/access-authn-authz/bootstrap-tokens/#bootstrap-token-secret-format
func TestCreateTokenIsKubeadms(t *testing.T) {
	c := newCluster(t)
	before := time.Now().Truncate(time.Second)
	create(t, c, "abcdef.0123456789abcdef", time.Hour)
	s, err := c.CoreV1().Secrets("kube-system").Get(t.Context(), "bootstrap-token-abcdef", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if s.Type != "bootstrap.kubernetes.io/token" {
		t.Errorf("type %q", s.Type)
	}
	expires, err := time.Parse(time.RFC3339, string(s.Data["expiration"]))
	if err != nil || expires.Before(before.Add(time.Hour)) || expires.After(time.Now().Add(time.Hour)) {
		t.Errorf("expires %q, made about %v", s.Data["expiration"], before)
	}
	delete(s.Data, "expiration")
	want := map[string]string{
		"token-id": "abcdef", "token-secret": "0123456789abcdef", "description": "of abcdef",
		"usage-bootstrap-authentication": "true", "usage-bootstrap-signing": "true",
		"auth-extra-groups": "system:bootstrappers:kubeadm:default-node-token",
	}
	for k, v := range want {
		if string(s.Data[k]) != v {
			t.Errorf("%s is %q, want %q", k, s.Data[k], v)
		}
	}
	if len(s.Data) != len(want) {
		t.Errorf("has %d entries, want %d", len(s.Data), len(want))
	}
}

func TestCreateTokenAgain(t *testing.T) {
	c := newCluster(t)
	create(t, c, "abcdef.0123456789abcdef", time.Hour)
	create(t, c, "abcdef.0123456789abcdef", 0)
	list := tokens(t, c)
	if len(list) != 1 || !list[0].Expires.IsZero() {
		t.Errorf("got %+v, want one that never expires", list)
	}
}

func TestTokensInOrder(t *testing.T) {
	c := newCluster(t, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "kube-system", Name: "other"}, Type: "Opaque"})
	for text, ttl := range map[string]time.Duration{
		"zzzzzz.0123456789abcdef": time.Hour, "cccccc.0123456789abcdef": 2 * time.Hour,
		"yyyyyy.0123456789abcdef": 0, "xxxxxx.0123456789abcdef": 0,
	} {
		create(t, c, text, ttl)
	}
	list := tokens(t, c)
	if got := ids(list); got != "zzzzzz cccccc xxxxxx yyyyyy" {
		t.Errorf("got %q", got)
	}
	one := list[0]
	if !slices.Equal(one.Usages, []string{"signing", "authentication"}) {
		t.Errorf("usages %q", one.Usages)
	}
	if !slices.Equal(one.Groups, []string{"system:bootstrappers", invite.NodeGroup}) || one.Description != "of zzzzzz" || one.Expires.IsZero() {
		t.Errorf("got %+v", one)
	}
}

func TestHasToken(t *testing.T) {
	c := newCluster(t)
	create(t, c, "aaaaaa.0123456789abcdef", time.Hour)
	create(t, c, "bbbbbb.0123456789abcdef", 0)
	create(t, c, "cccccc.0123456789abcdef", time.Hour)
	expire(t, c, "cccccc")
	for id, want := range map[string]bool{"aaaaaa": true, "bbbbbb": true, "cccccc": false, "dddddd": false} {
		got, err := invite.HasToken(t.Context(), c, id)
		if err != nil || got != want {
			t.Errorf("%s: %v, %v, want %v", id, got, err, want)
		}
	}
}

func expire(t *testing.T, c kubernetes.Interface, id string) {
	t.Helper()
	all := c.CoreV1().Secrets("kube-system")
	s, err := all.Get(t.Context(), "bootstrap-token-"+id, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	s.Data["expiration"] = []byte("2020-01-02T03:04:05Z")
	if _, err := all.Update(t.Context(), s, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
}

func TestDeleteToken(t *testing.T) {
	c := newCluster(t)
	create(t, c, "aaaaaa.0123456789abcdef", time.Hour)
	create(t, c, "bbbbbb.0123456789abcdef", time.Hour)
	create(t, c, "cccccc.0123456789abcdef", time.Hour)
	for _, text := range []string{"aaaaaa", "bbbbbb.0123456789abcdef"} {
		if err := invite.DeleteToken(t.Context(), c, text); err != nil {
			t.Errorf("%s: %v", text, err)
		}
	}
	if got := ids(tokens(t, c)); got != "cccccc" {
		t.Errorf("left are %q", got)
	}
	wantFaults(t, invite.DeleteToken(t.Context(), c, "aaaaaa"), "token-unknown")
	err := invite.DeleteToken(t.Context(), c, "0123456789ABCDEF")
	wantFaults(t, err, "token-invalid")
	if strings.Contains(err.Error(), "0123456789") {
		t.Errorf("what may be a secret is in the error: %v", err)
	}
}
