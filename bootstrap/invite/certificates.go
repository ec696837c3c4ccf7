package invite

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/cluster-bootstrap/token/util"

	"slipway.dev/slipway/bootstrap/discovery"
	"slipway.dev/slipway/internal/fault"
)

// certificatesName is kubeadm's name for the Secret, and for the permission to read it.
const (
	certificatesName       = "kubeadm-certs"
	certificatesPermission = "kubeadm:kubeadm-certs"
	certificatesTTL        = 2 * time.Hour // as with kubeadm
)

// Key is the key that the uploaded files are encrypted with: AES-256.
type Key struct{ bytes *[32]byte }

// NewKey makes a random key.
func NewKey() (Key, error) {
	var b [32]byte
	_, err := rand.Read(b[:])
	return Key{&b}, err
}

// ParseKey reads a key from 64 hexadecimal digits. The fault is certificate-key-invalid; it has nothing of the text.
func ParseKey(text string) (Key, error) {
	b, err := hex.DecodeString(strings.TrimSpace(text))
	if err != nil || len(b) != 32 {
		return Key{}, fault.New("certificate-key-invalid", "read the certificate key", errors.New("it is not 64 hexadecimal digits"),
			"copy the whole key; `slipway certs upload` on a control plane makes a new one")
	}
	return Key{(*[32]byte)(b)}, nil
}

// Reveal gives the key as a user passes it on.
func (k Key) Reveal() string { return hex.EncodeToString(k.bytes[:]) }

// String keeps the key out of what is printed.
func (Key) String() string { return "<redacted>" }

// GoString keeps the key out of what is printed.
func (k Key) GoString() string { return k.String() }

// IsZero tells whether there is a key.
func (k Key) IsZero() bool { return k.bytes == nil }

// Where control planes have what they reach an etcd with that is not the cluster's own, below /etc/kubernetes.
const (
	EtcdCA   = "pki/etcd/ca.crt"
	EtcdCert = "pki/apiserver-etcd-client.crt"
	EtcdKey  = "pki/apiserver-etcd-client.key"
)

// SharedFiles are the files that all control planes have in common, below /etc/kubernetes. Optional ones are left out
// where they are not there: kubeadm knows only those in pki. An external etcd's authority signs elsewhere; what it has
// signed for the API servers is shared instead of its key.
func SharedFiles(externalEtcd bool) (needed, optional []string) {
	needed = []string{
		"pki/ca.crt", "pki/ca.key", "pki/sa.pub", "pki/sa.key", "pki/front-proxy-ca.crt", "pki/front-proxy-ca.key",
	}
	if externalEtcd {
		needed = append(needed, EtcdCA, EtcdCert, EtcdKey)
	} else {
		needed = append(needed, EtcdCA, "pki/etcd/ca.key")
	}
	return needed, []string{"apiserver/encryption.yaml", "apiserver/audit-policy.yaml", "apiserver/authentication.yaml"}
}

// entryName is the key in the Secret: kubeadm leaves out the folder of certificates and replaces slashes, and has names of
// its own for what belongs to an external etcd, which may lie anywhere.
func entryName(file string, externalEtcd bool) string {
	if externalEtcd {
		switch file {
		case EtcdCA:
			return externalEtcdCA
		case EtcdCert:
			return "external-etcd.crt"
		case EtcdKey:
			return "external-etcd.key"
		}
	}
	return strings.ReplaceAll(strings.TrimPrefix(file, "pki/"), "/", "-")
}

// externalEtcdCA is an entry that is there only where etcd is external.
const externalEtcdCA = "external-etcd-ca.crt"

// UploadCertificates encrypts the shared files and puts them into the cluster, for two hours. read is given paths below
// /etc/kubernetes, as of SharedFiles.
func UploadCertificates(
	ctx context.Context, c kubernetes.Interface, key Key, externalEtcd bool, read func(file string) ([]byte, error),
) error {
	needed, optional := SharedFiles(externalEtcd)
	data := map[string][]byte{}
	for i, file := range append(needed, optional...) {
		content, err := read(file)
		if i >= len(needed) && errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return fmt.Errorf("upload certificates: %w", err)
		}
		if data[entryName(file, externalEtcd)], err = seal(key, content); err != nil {
			return fmt.Errorf("upload certificates: %w", err)
		}
	}
	owner, err := expiring(ctx, c)
	if err != nil {
		return fmt.Errorf("upload certificates: %w", err)
	}
	err = put(ctx, c, &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: certificatesName, Namespace: metav1.NamespaceSystem, OwnerReferences: owner},
		Data:       data,
	})
	if err == nil {
		err = allowReading(ctx, c)
	}
	if err != nil {
		return fmt.Errorf("upload certificates: %w", err)
	}
	return nil
}

// expiring makes a token that nobody is told, whose end takes the Secret that it owns with it, as kubeadm does.
func expiring(ctx context.Context, c kubernetes.Interface) ([]metav1.OwnerReference, error) {
	t, err := discovery.NewToken()
	if err != nil {
		return nil, err
	}
	if err := CreateToken(ctx, c, t, certificatesTTL, "Ends the life of the uploaded certificates."); err != nil {
		return nil, err
	}
	s, err := c.CoreV1().Secrets(metav1.NamespaceSystem).Get(ctx, util.BootstrapTokenSecretName(t.ID), metav1.GetOptions{})
	if err != nil {
		return nil, err
	}
	yes := true
	return []metav1.OwnerReference{{
		APIVersion: "v1", Kind: "Secret", Name: s.Name, UID: s.UID, Controller: &yes, BlockOwnerDeletion: &yes,
	}}, nil
}

// allowReading lets hosts with a token read the Secret, which helps only those with the key.
func allowReading(ctx context.Context, c kubernetes.Interface) error {
	meta := metav1.ObjectMeta{Name: certificatesPermission, Namespace: metav1.NamespaceSystem}
	role := &rbacv1.Role{ObjectMeta: meta, Rules: []rbacv1.PolicyRule{{
		APIGroups: []string{""}, Resources: []string{"secrets"}, ResourceNames: []string{certificatesName}, Verbs: []string{"get"},
	}}}
	binding := &rbacv1.RoleBinding{
		ObjectMeta: meta, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: certificatesPermission},
		Subjects: []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: rbacv1.GroupKind, Name: NodeGroup}},
	}
	_, err := c.RbacV1().Roles(meta.Namespace).Create(ctx, role, metav1.CreateOptions{})
	if err != nil && !apierrors.IsAlreadyExists(err) {
		return err
	}
	_, err = c.RbacV1().RoleBindings(meta.Namespace).Create(ctx, binding, metav1.CreateOptions{})
	if err != nil && !apierrors.IsAlreadyExists(err) {
		return err
	}
	return nil
}

// DownloadCertificates gives the shared files by their paths below /etc/kubernetes. The faults are
// certificates-not-uploaded and certificate-key-wrong.
func DownloadCertificates(ctx context.Context, c kubernetes.Interface, key Key) (map[string][]byte, error) {
	const op = "download the control planes' certificates"
	s, err := c.CoreV1().Secrets(metav1.NamespaceSystem).Get(ctx, certificatesName, metav1.GetOptions{})
	if apierrors.IsNotFound(err) || apierrors.IsForbidden(err) { // forbidden, where nobody has ever uploaded any
		return nil, fault.New("certificates-not-uploaded", op, errors.New("the cluster has none: they are kept for two hours"),
			"run `slipway certs upload` on a control plane and use the key that it prints")
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", op, err)
	}
	_, externalEtcd := s.Data[externalEtcdCA]
	needed, optional := SharedFiles(externalEtcd)
	out := map[string][]byte{}
	for i, file := range append(needed, optional...) {
		sealed, ok := s.Data[entryName(file, externalEtcd)]
		if !ok && i >= len(needed) {
			continue
		}
		if !ok {
			return nil, fault.New("certificates-not-uploaded", op, fmt.Errorf("%q is not among them", path.Base(file)),
				"run `slipway certs upload` on a control plane again")
		}
		if out[file], err = open(key, sealed); err != nil {
			return nil, fault.New("certificate-key-wrong", op, err,
				"use the key that the last `slipway certs upload` (or `kubeadm init phase upload-certs`) printed")
		}
	}
	return out, nil
}

// seal encrypts as kubeadm does: AES-GCM with the nonce in front.
func seal(key Key, data []byte) ([]byte, error) {
	gcm, err := newGCM(key)
	if err != nil {
		return nil, err
	}
	nonce := make([]byte, gcm.NonceSize())
	if _, err := rand.Read(nonce); err != nil {
		return nil, err
	}
	return gcm.Seal(nonce, nonce, data, nil), nil
}

func open(key Key, sealed []byte) ([]byte, error) {
	gcm, err := newGCM(key)
	if err != nil {
		return nil, err
	}
	if len(sealed) < gcm.NonceSize() {
		return nil, errors.New("what was uploaded is too short")
	}
	data, err := gcm.Open(nil, sealed[:gcm.NonceSize()], sealed[gcm.NonceSize():], nil)
	if err != nil {
		return nil, errors.New("the key does not fit")
	}
	return data, nil
}

func newGCM(key Key) (cipher.AEAD, error) {
	block, err := aes.NewCipher(key.bytes[:])
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}
