package invite

import (
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"

	"slipway.dev/slipway/bootstrap/discovery"
)

// JoinCommand is what to run on a host that is to join: as a control plane if there is a key. caPEM is the cluster's
// authority. It holds secrets.
func JoinCommand(endpoint string, t discovery.Token, caPEM []byte, key Key) (string, error) {
	var b strings.Builder
	fmt.Fprintf(&b, "slipway join %s --token %s", endpoint, t.Reveal())
	for rest := caPEM; ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return "", fmt.Errorf("read the cluster's authority: %w", err)
		}
		fmt.Fprintf(&b, " --discovery-token-ca-cert-hash %s", discovery.HashOf(cert))
	}
	if !strings.Contains(b.String(), "ca-cert-hash") {
		return "", errors.New("read the cluster's authority: it has no certificate")
	}
	if !key.IsZero() {
		fmt.Fprintf(&b, " --control-plane --certificate-key %s", key.Reveal())
	}
	return b.String(), nil
}
