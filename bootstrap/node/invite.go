package node

import (
	"context"

	"k8s.io/client-go/kubernetes"

	"slipway.dev/slipway/bootstrap/discovery"
	"slipway.dev/slipway/bootstrap/engine"
	"slipway.dev/slipway/bootstrap/invite"
	"slipway.dev/slipway/certs"
)

// invite lets other hosts join: it makes the token known, and uploads what control planes share if there is a key.
func (n *builder) invite(name string, needs ...string) engine.Step {
	return engine.Step{
		Name: name, Needs: needs,
		Check: func(ctx context.Context) ([]string, error) {
			t, err := discovery.ParseToken(n.Invite.Token)
			if err != nil {
				return nil, err
			}
			change := []string{"create token " + t.ID}
			if n.Invite.CertificateKey != "" {
				return append(change, "upload the control planes' certificates, encrypted, for two hours"), nil
			}
			if c, err := client(adminKubeconfig); err == nil {
				if known, err := invite.HasToken(ctx, c, t.ID); err == nil && known {
					return nil, nil
				}
			}
			return change, nil
		},
		Do: func(ctx context.Context, progress func(string)) error {
			return waitAPI(ctx, n.doInvite, progress)
		},
	}
}

func (n *builder) doInvite(ctx context.Context) error {
	cfg, err := n.superAdmin()
	if err != nil {
		return err
	}
	c, err := kubernetes.NewForConfig(cfg)
	if err != nil {
		return err
	}
	t, err := discovery.ParseToken(n.Invite.Token)
	if err != nil {
		return err
	}
	if err := invite.CreateToken(ctx, c, t, n.Invite.TTL, "The first token."); err != nil || n.Invite.CertificateKey == "" {
		return err
	}
	key, err := invite.ParseKey(n.Invite.CertificateKey)
	if err != nil {
		return err
	}
	return invite.UploadCertificates(ctx, c, key, n.externalEtcd(), certs.Host("/"))
}
