package server

import (
	"strings"
	"testing"

	"slipway.dev/slipway/internal/fault"
)

// FuzzJoin is a join command as somebody has pasted it: what cannot be used is refused with a reason that has a name, and what
// is accepted is what was given.
func FuzzJoin(f *testing.F) {
	const token, key = "abcdef.0123456789abcdef", "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"
	hash := "sha256:" + strings.Repeat("ab", 32)
	f.Add("10.0.0.1:6443", token, hash, key, "", true)
	f.Add("10.0.0.1:6443", token, hash, "", "", false)
	f.Add("", token, "", "", "cluster.conf", false)
	f.Add("10.0.0.1", token+"\n", "md5:1", key[1:], "cluster.conf", true)
	f.Fuzz(func(t *testing.T, endpoint, token, hash, key, file string, controlPlane bool) {
		o := JoinOptions{
			Endpoint: endpoint, Token: token, CAHashes: []string{hash}, DiscoveryFile: file, ControlPlane: controlPlane, CertificateKey: key,
		}
		j, err := o.read()
		if err != nil {
			if len(fault.All(err)) == 0 {
				t.Errorf("refused without a name: %v", err)
			}
			return
		}
		if (endpoint == "") == (file == "") || controlPlane != (key != "") {
			t.Errorf("accepted: %+v", o)
		}
		if token != "" && j.token.Reveal() != token || len(j.hashes) != 1 || !strings.EqualFold(j.hashes[0].String(), hash) {
			t.Errorf("%q and %q were read as %q and %v", token, hash, j.token.Reveal(), j.hashes)
		}
	})
}
