package invite_test

import (
	"strings"
	"testing"

	"slipway.dev/slipway/bootstrap/invite"
)

// caPEM is an authority that exists nowhere. Its hash is from openssl:
// openssl x509 -pubkey -noout | openssl pkey -pubin -outform der | openssl dgst -sha256
const caPEM = `-----BEGIN CERTIFICATE-----
MIIBgjCCASegAwIBAgIUAbPGgnTDbnYYv6+5JXC+DhR8618wCgYIKoZIzj0EAwIw
FTETMBEGA1UEAwwKa3ViZXJuZXRlczAgFw0yNjExMjExMzU0NTJaGA8yMTI2MTAy
ODEzNTQ1MlowFTETMBEGA1UEAwwKa3ViZXJuZXRlczBZMBMGByqGSM49AgEGCCqG
SM49AwEHA0IABEfLozoKmNwGobpSj+xX0ATD1sTvVpJTi9rmrQ+1SlakfO8GQwwH
PsxCWrYFCd+apnDYFsfkSBNz1/MBIzbY0PCjUzBRMB0GA1UdDgQWBBSFoyyUyZwt
mmfW18+nDa+8+penBjAfBgNVHSMEGDAWgBSFoyyUyZwtmmfW18+nDa+8+penBjAP
BgNVHRMBAf8EBTADAQH/MAoGCCqGSM49BAMCA0kAMEYCIQD2akwIb6Q4ybahj5qj
mMtk1bk+gFNOSPwAQpn/tEN3rwIhAJuXMWF2sUij8IUGkhPhKQFhHYpLpr8RWfmJ
sK06+F39
-----END CERTIFICATE-----
`

const caHash = "sha256:5b32408aed035865c9302babaa8e67906c08f0b94249b31e05ff0f5422f9b423"

func TestJoinCommand(t *testing.T) {
	key, err := invite.ParseKey(strings.Repeat("0a", 32))
	if err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		ca   string
		key  invite.Key
		want string
	}{
		"worker": {caPEM, invite.Key{}, "slipway join api.example.com:6443 --token abcdef.0123456789abcdef --discovery-token-ca-cert-hash " + caHash},
		"control plane": {caPEM, key, "slipway join api.example.com:6443 --token abcdef.0123456789abcdef --discovery-token-ca-cert-hash " + caHash +
			" --control-plane --certificate-key " + strings.Repeat("0a", 32)},
		"while the authority changes": {caPEM + caPEM, invite.Key{}, "slipway join api.example.com:6443 --token abcdef.0123456789abcdef" +
			" --discovery-token-ca-cert-hash " + caHash + " --discovery-token-ca-cert-hash " + caHash},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := invite.JoinCommand("api.example.com:6443", parse(t, "abcdef.0123456789abcdef"), []byte(tt.ca), tt.key)
			if err != nil || got != tt.want {
				t.Errorf("got  %s, %v\nwant %s", got, err, tt.want)
			}
		})
	}
}

func TestJoinCommandNeedsAnAuthority(t *testing.T) {
	for name, ca := range map[string]string{
		"none": "", "no PEM": "x", "no certificate": "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
	} {
		got, err := invite.JoinCommand("a:6443", parse(t, "abcdef.0123456789abcdef"), []byte(ca), invite.Key{})
		if err == nil || got != "" {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
}
