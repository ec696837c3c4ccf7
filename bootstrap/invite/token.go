package invite

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/cluster-bootstrap/token/api"
	"k8s.io/cluster-bootstrap/token/util"
	"k8s.io/cluster-bootstrap/util/secrets"

	"slipway.dev/slipway/bootstrap/discovery"
	"slipway.dev/slipway/internal/fault"
)

// NodeGroup is the group that hosts with a token belong to; kubeadm's permissions for joining are given to it.
const NodeGroup = "system:bootstrappers:kubeadm:default-node-token"

// DefaultTTL is how long a token is good unless the user says otherwise, as with kubeadm.
const DefaultTTL = 24 * time.Hour

// TokenInfo is what a cluster knows of a token, without its secret half.
type TokenInfo struct {
	ID          string    `json:"id"`
	Expires     time.Time `json:"expires,omitzero"` // zero: never
	Usages      []string  `json:"usages"`
	Groups      []string  `json:"groups"`
	Description string    `json:"description,omitempty"`
}

// CreateToken makes the cluster know a token for ttl; 0 is forever. One that it knows already gets the new time.
func CreateToken(ctx context.Context, c kubernetes.Interface, t discovery.Token, ttl time.Duration, description string) error {
	s := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: util.BootstrapTokenSecretName(t.ID), Namespace: metav1.NamespaceSystem},
		Type:       api.SecretTypeBootstrapToken,
		StringData: map[string]string{
			api.BootstrapTokenIDKey: t.ID, api.BootstrapTokenSecretKey: t.Secret(),
			api.BootstrapTokenUsageAuthentication: "true", api.BootstrapTokenUsageSigningKey: "true",
			api.BootstrapTokenExtraGroupsKey: NodeGroup, api.BootstrapTokenDescriptionKey: description,
		},
	}
	if ttl > 0 {
		s.StringData[api.BootstrapTokenExpirationKey] = time.Now().Add(ttl).UTC().Format(time.RFC3339)
	}
	if err := put(ctx, c, s); err != nil {
		return fmt.Errorf("create token %s: %w", t, err)
	}
	return nil
}

// put creates a Secret, or replaces it.
func put(ctx context.Context, c kubernetes.Interface, s *corev1.Secret) error {
	all := c.CoreV1().Secrets(s.Namespace)
	_, err := all.Create(ctx, s, metav1.CreateOptions{FieldManager: "slipway"})
	if apierrors.IsAlreadyExists(err) {
		_, err = all.Update(ctx, s, metav1.UpdateOptions{FieldManager: "slipway"})
	}
	return err
}

// HasToken tells whether the cluster knows a token, and it has not expired.
func HasToken(ctx context.Context, c kubernetes.Interface, id string) (bool, error) {
	s, err := c.CoreV1().Secrets(metav1.NamespaceSystem).Get(ctx, util.BootstrapTokenSecretName(id), metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return false, nil
	}
	return err == nil && !secrets.HasExpired(s, time.Now()), err
}

// Tokens lists the tokens that the cluster knows, the first to expire first.
func Tokens(ctx context.Context, c kubernetes.Interface) ([]TokenInfo, error) {
	list, err := c.CoreV1().Secrets(metav1.NamespaceSystem).List(ctx,
		metav1.ListOptions{FieldSelector: "type=" + string(api.SecretTypeBootstrapToken)})
	if err != nil {
		return nil, fmt.Errorf("list tokens: %w", err)
	}
	var out []TokenInfo
	for _, s := range list.Items {
		t := TokenInfo{ID: secrets.GetData(&s, api.BootstrapTokenIDKey), Description: secrets.GetData(&s, api.BootstrapTokenDescriptionKey)}
		t.Expires, _ = time.Parse(time.RFC3339, secrets.GetData(&s, api.BootstrapTokenExpirationKey)) // none: never
		t.Groups, _ = secrets.GetGroups(&s)                                                           // what is no group is not one
		for _, usage := range api.KnownTokenUsages {
			if secrets.GetData(&s, api.BootstrapTokenUsagePrefix+usage) == "true" {
				t.Usages = append(t.Usages, usage)
			}
		}
		out = append(out, t)
	}
	slices.SortFunc(out, compareExpiry)
	return out, nil
}

func compareExpiry(a, b TokenInfo) int {
	switch {
	case a.Expires.Equal(b.Expires):
		return strings.Compare(a.ID, b.ID)
	case a.Expires.IsZero():
		return 1
	case b.Expires.IsZero():
		return -1
	}
	return a.Expires.Compare(b.Expires)
}

// DeleteToken makes the cluster forget a token, given whole or by its ID. The fault is token-unknown.
func DeleteToken(ctx context.Context, c kubernetes.Interface, idOrToken string) error {
	id, _, _ := strings.Cut(idOrToken, ".")
	if !util.IsValidBootstrapTokenID(id) {
		return fault.New("token-invalid", "delete a token", errors.New("its ID is not six lower-case letters or digits"),
			"see `slipway token list`")
	}
	err := c.CoreV1().Secrets(metav1.NamespaceSystem).Delete(ctx, util.BootstrapTokenSecretName(id), metav1.DeleteOptions{})
	if apierrors.IsNotFound(err) {
		return fault.New("token-unknown", fmt.Sprintf("delete token %q", id), errors.New("the cluster has none of that ID"),
			"see `slipway token list`")
	}
	if err != nil {
		return fmt.Errorf("delete token %q: %w", id, err)
	}
	return nil
}
