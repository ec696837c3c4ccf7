package discovery_test

import (
	"crypto/sha256"
	"crypto/x509"
	"fmt"
	"strings"
	"testing"

	"slipway.dev/slipway/bootstrap/discovery"
	"slipway.dev/slipway/internal/fault"
)

// TestHashOf holds the hash against the public key as the standard library encodes it, which is what openssl hashes in
// kubeadm's documentation.
func TestHashOf(t *testing.T) {
	ca := newAuthority(t)
	der, err := x509.MarshalPKIXPublicKey(&ca.key.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := discovery.HashOf(ca.cert).String(), fmt.Sprintf("sha256:%x", sha256.Sum256(der)); got != want {
		t.Errorf("hash is %s, want %s", got, want)
	}
}

func TestParseCAHashes(t *testing.T) {
	a, b := newAuthority(t), newAuthority(t)
	texts := []string{a.hash()[0].String(), strings.ToUpper(b.hash()[0].String())} // kubeadm takes capitals too
	got, err := discovery.ParseCAHashes(texts)
	if err != nil || len(got) != 2 || got[0] != discovery.HashOf(a.cert) || got[1] != discovery.HashOf(b.cert) {
		t.Errorf("hashes are %v, %v", got, err)
	}
}

func TestParseCAHashesNamesAllProblems(t *testing.T) {
	good := newAuthority(t).hash()[0].String()
	bad := []string{"", "sha256:", "sha1:" + good[7:], good[7:], good[:70], good + "00", strings.Replace(good, good[7:9], "zz", 1), " " + good}
	got, err := discovery.ParseCAHashes(append([]string{good}, bad...))
	if got != nil {
		t.Errorf("hashes are %v", got)
	}
	faults := fault.All(err)
	if len(faults) != len(bad) {
		t.Fatalf("%d faults, want %d: %v", len(faults), len(bad), err)
	}
	for i, f := range faults {
		if f.ID != "ca-hash-invalid" || !strings.Contains(f.Op, fmt.Sprintf("%q", bad[i])) {
			t.Errorf("fault for %q is %q: %v", bad[i], f.ID, f)
		}
	}
}
