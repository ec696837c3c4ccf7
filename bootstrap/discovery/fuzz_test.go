package discovery

import (
	"errors"
	"net/http"
	"strings"
	"testing"

	"k8s.io/cluster-bootstrap/token/jws"

	"slipway.dev/slipway/internal/fault"
)

// seedCA is a self-signed authority, as a kubeconfig has it. Nothing looks at its dates.
const seedCA = "LS0tLS1CRUdJTiBDRVJUSUZJQ0FURS0tLS0tCk1JSUJnRENDQVNXZ0F3SUJBZ0lVU01BUDArQ1h0ZkV0TFY1MHFPa0lGTjc0QXdZd0NnWUlLb1pJemowRUF3SXcKRlRFVE" +
	"1CRUdBMVVFQXd3S2EzVmlaWEp1WlhSbGN6QWVGdzB5TmpFeE1qRXhNekEzTlRkYUZ3MHpOakV4TVRneApNekEzTlRkYU1CVXhFekFSQmdOVkJBTU1DbXQxWW1WeWJtVjBa" +
	"WE13V1RBVEJnY3Foa2pPUFFJQkJnZ3Foa2pPClBRTUJCd05DQUFUYTMrYktVa0dva2FWWDhsSTc5VHNaU2ZOR1hiRUFxaGwyRmZHdUY1U0lra2hVQTZucllBaG0KOG5RY2" +
	"xEalZ6TVl5bGlEZ1FuTjhPR3BuUUk4eUZvQXVvMU13VVRBZEJnTlZIUTRFRmdRVVdQSTh1N2kzZVMxaApudjZsQ3IwWFk3TTdQRHd3SHdZRFZSMGpCQmd3Rm9BVVdQSTh1" +
	"N2kzZVMxaG52NmxDcjBYWTdNN1BEd3dEd1lEClZSMFRBUUgvQkFVd0F3RUIvekFLQmdncWhrak9QUVFEQWdOSkFEQkdBaUVBNkV4YjFsazEvU3BmQjZ6SjZEbFkKRk5oWn" +
	"VmS2ROV3E0VC94TkI0NlZoNVVDSVFEUXNBMGwxT1JqSHY1TUM2bGxGS1BwZURCcTA3cExCOXVUWHloRQpKM1VXQnc9PQotLS0tLUVORCBDRVJUSUZJQ0FURS0tLS0tCg=="

func FuzzParseToken(f *testing.F) {
	for _, seed := range []string{"", "abcdef.s3cr3thalf0ftest", "s3cr3thalf0ftest.abcdef", "abcdef.", "ABCDEF.s3cr3thalf0ftest", "abcdef.s3cr3thalf0ftest\n"} {
		f.Add(seed)
	}
	_, always := ParseToken("") // the only text of an error, so that no token can be in it
	f.Fuzz(func(t *testing.T, text string) {
		tok, err := ParseToken(text)
		if err != nil {
			if err.Error() != always.Error() {
				t.Errorf("the error depends on the text: %v", err)
			}
			return
		}
		if tok.Reveal() != text || len(tok.ID) != 6 || len(tok.Secret()) != 16 {
			t.Errorf("%q was read as %q and %q", text, tok.ID, tok.Secret())
		}
	})
}

func FuzzParseCAHashes(f *testing.F) {
	digits := strings.Repeat("0a", 32)
	for _, seed := range []string{"", "sha256:", "sha256:" + digits, "SHA256:" + strings.ToUpper(digits), digits, "sha512:" + digits, "sha256:" + digits + "0"} {
		f.Add(seed, "sha256:"+digits)
	}
	f.Fuzz(func(t *testing.T, a, b string) {
		hashes, err := ParseCAHashes([]string{a, b})
		if err != nil {
			if hashes != nil || len(fault.All(err)) == 0 {
				t.Errorf("hashes %v with error %v", hashes, err)
			}
			return
		}
		if len(hashes) != 2 || !strings.EqualFold(hashes[0].String(), a) || !strings.EqualFold(hashes[1].String(), b) {
			t.Errorf("%q and %q were read as %v", a, b, hashes)
		}
	})
}

// FuzzAnswer is all that a stranger can send before anything is proven.
func FuzzAnswer(f *testing.F) {
	f.Add(200, []byte(`{"apiVersion":"v1","kind":"ConfigMap","data":{"kubeconfig":"x","jws-kubeconfig-abcdef":"a..b"}}`))
	f.Add(200, []byte(`{"apiVersion":"v1","kind":"ConfigMap","data":null}`))
	f.Add(403, []byte(`{"apiVersion":"v1","kind":"Status","message":"forbidden"}`))
	f.Add(503, []byte(`{"apiVersion":"v1","kind":"Status"}`))
	f.Add(200, []byte(`<html>`))
	f.Add(302, []byte(``))
	tok := seedToken(f)
	f.Fuzz(func(t *testing.T, code int, body []byte) {
		e, err := parseEndpoint("127.0.0.1:6443")
		if err != nil {
			t.Fatal(err)
		}
		info, err := e.read(answer{status: http.StatusText(code), code: code, body: body})
		if err == nil {
			err = info.checkSignature(tok)
		}
		if err == nil {
			t.Fatalf("an answer was believed that nobody signed: %s", body)
		}
		if faults := fault.All(err); len(faults) != 1 {
			t.Errorf("not a fault: %v", err)
		}
		if healable := errors.As(err, new(healableError)); code >= 500 && !healable {
			t.Errorf("%d is not waited for: %v", code, err)
		}
	})
}

func TestParseEndpoint(t *testing.T) {
	for _, text := range []string{"192.0.2.7:6443", "[2001:db8::1]:443", "api.example.test:6443", "API:1"} {
		if e, err := parseEndpoint(text); err != nil || e.base.String() != "https://"+text {
			t.Errorf("%q was read as %v, %v", text, e.base, err)
		}
	}
}

// FuzzSignedKubeconfig is what somebody can send who has the token.
func FuzzSignedKubeconfig(f *testing.F) {
	f.Add("")
	f.Add("apiVersion: v1\nkind: Config\nclusters:\n- name: \"\"\n  cluster:\n    server: https://127.0.0.1:6443\n    certificate-authority-data: " + seedCA + "\n")
	f.Add("apiVersion: v1\nkind: Config\nclusters:\n- name: a\n  cluster: null\n- cluster: {certificate-authority: /etc/hostname}\n")
	f.Add(`{"clusters":[{"name":"a","cluster":{"server":"https://[::1]","certificate-authority-data":"AA=="}}],"users":null}`)
	tok := seedToken(f)
	f.Fuzz(func(t *testing.T, kubeconfig string) {
		signature, err := jws.ComputeDetachedSignature(kubeconfig, tok.ID, tok.Secret())
		if err != nil {
			t.Fatal(err)
		}
		info := clusterInfo{kubeconfig: kubeconfig, data: map[string]string{"jws-kubeconfig-" + tok.ID: signature}}
		if err := info.checkSignature(tok); (err == nil) != (kubeconfig != "") {
			t.Fatalf("signature of %q: %v", kubeconfig, err)
		}
		cluster, bundle, err := info.cluster()
		if err != nil {
			if faults := fault.All(err); len(faults) != 1 || faults[0].ID != "cluster-info-unusable" {
				t.Errorf("not the fault: %v", err)
			}
			return
		}
		if !strings.HasPrefix(strings.ToLower(cluster.Server), "https://") || len(cluster.CA) == 0 || len(bundle) == 0 {
			t.Errorf("%q was read as %+v with %d authorities", kubeconfig, cluster, len(bundle))
		}
	})
}

func seedToken(f *testing.F) Token {
	f.Helper()
	tok, err := ParseToken("abcdef.s3cr3thalf0ftest")
	if err != nil {
		f.Fatal(err)
	}
	return tok
}
