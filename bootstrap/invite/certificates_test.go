package invite_test

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"slipway.dev/slipway/bootstrap/invite"
)

// sharedFiles are made up; what is in them does not matter here.
func sharedFiles() map[string][]byte { return filesOf(invite.SharedFiles(false)) }

func filesOf(needed, optional []string) map[string][]byte {
	out := map[string][]byte{}
	for _, file := range append(needed, optional...) {
		out[file] = []byte("content of " + file)
	}
	return out
}

func reader(files map[string][]byte) func(string) ([]byte, error) {
	return func(file string) ([]byte, error) {
		if data, ok := files[file]; ok {
			return data, nil
		}
		return nil, fmt.Errorf("read %q: %w", file, fs.ErrNotExist)
	}
}

func newKey(t *testing.T) invite.Key {
	t.Helper()
	key, err := invite.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func upload(t *testing.T, c kubernetes.Interface, key invite.Key, files map[string][]byte) *corev1.Secret {
	t.Helper()
	if err := invite.UploadCertificates(t.Context(), c, key, false, reader(files)); err != nil {
		t.Fatal(err)
	}
	s, err := c.CoreV1().Secrets("kube-system").Get(t.Context(), "kubeadm-certs", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestUploadAndDownload(t *testing.T) {
	withoutOptional := sharedFiles()
	maps.DeleteFunc(withoutOptional, func(file string, _ []byte) bool { return !strings.HasPrefix(file, "pki/") })
	for name, files := range map[string]map[string][]byte{"all": sharedFiles(), "those of kubeadm": withoutOptional} {
		t.Run(name, func(t *testing.T) {
			c, key := newCluster(t), newKey(t)
			upload(t, c, key, files)
			got, err := invite.DownloadCertificates(t.Context(), c, key)
			if err != nil {
				t.Fatal(err)
			}
			if !maps.EqualFunc(got, files, bytes.Equal) {
				t.Errorf("got %q, want %q", got, files)
			}
		})
	}
}

// TestUploadIsKubeadms decrypts with nothing of the package under test. The entries are those of kubeadm's upload-certs phase:
// https://kubernetes.io/docs/reference/setup-tools/kubeadm/kubeadm-init-phase/#cmd-phase-upload-certs
func TestUploadIsKubeadms(t *testing.T) {
	key := newKey(t)
	s := upload(t, newCluster(t), key, sharedFiles())
	for entry, file := range map[string]string{
		"ca.crt": "pki/ca.crt", "ca.key": "pki/ca.key", "sa.pub": "pki/sa.pub", "sa.key": "pki/sa.key",
		"front-proxy-ca.crt": "pki/front-proxy-ca.crt", "front-proxy-ca.key": "pki/front-proxy-ca.key",
		"etcd-ca.crt": "pki/etcd/ca.crt", "etcd-ca.key": "pki/etcd/ca.key",
	} {
		if got := decrypt(t, key.Reveal(), s.Data[entry]); string(got) != "content of "+file {
			t.Errorf("entry %s is %q", entry, got)
		}
	}
	nonces := map[string]bool{}
	for _, sealed := range s.Data {
		nonces[string(sealed[:12])] = true
	}
	if len(nonces) != len(s.Data) {
		t.Errorf("%d nonces for %d entries", len(nonces), len(s.Data))
	}
}

// TestExternalEtcd: instead of the key of etcd's authority there is what that has signed, by kubeadm's names (phases/copycerts).
func TestExternalEtcd(t *testing.T) {
	c, key, files := newCluster(t), newKey(t), filesOf(invite.SharedFiles(true))
	if err := invite.UploadCertificates(t.Context(), c, key, true, reader(files)); err != nil {
		t.Fatal(err)
	}
	s, err := c.CoreV1().Secrets("kube-system").Get(t.Context(), "kubeadm-certs", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for entry, file := range map[string]string{
		"external-etcd-ca.crt": "pki/etcd/ca.crt", "external-etcd.crt": "pki/apiserver-etcd-client.crt",
		"external-etcd.key": "pki/apiserver-etcd-client.key", "ca.key": "pki/ca.key",
	} {
		if got := decrypt(t, key.Reveal(), s.Data[entry]); string(got) != "content of "+file {
			t.Errorf("entry %s is %q", entry, got)
		}
	}
	got, err := invite.DownloadCertificates(t.Context(), c, key)
	if err != nil || !maps.EqualFunc(got, files, bytes.Equal) || got["pki/etcd/ca.key"] != nil {
		t.Errorf("got %q, %v", got, err)
	}
}

func decrypt(t *testing.T, hexKey string, sealed []byte) []byte {
	t.Helper()
	raw, err := hex.DecodeString(hexKey)
	if err != nil || len(raw) != 32 {
		t.Fatalf("the key has %d bytes, %v", len(raw), err)
	}
	block, err := aes.NewCipher(raw)
	if err != nil {
		t.Fatal(err)
	}
	gcm, err := cipher.NewGCM(block)
	if err != nil {
		t.Fatal(err)
	}
	if len(sealed) < 12 {
		t.Fatalf("%d bytes", len(sealed))
	}
	out, err := gcm.Open(nil, sealed[:12], sealed[12:], nil)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// TestDownloadFromKubeadm reads what was encrypted with nothing of the package under test.
func TestDownloadFromKubeadm(t *testing.T) {
	key := newKey(t)
	raw, _ := hex.DecodeString(key.Reveal())
	block, _ := aes.NewCipher(raw)
	gcm, _ := cipher.NewGCM(block)
	s := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "kube-system", Name: "kubeadm-certs"}, Data: map[string][]byte{}}
	for i, entry := range []string{"ca.crt", "ca.key", "sa.pub", "sa.key", "front-proxy-ca.crt", "front-proxy-ca.key", "etcd-ca.crt", "etcd-ca.key"} {
		nonce := bytes.Repeat([]byte{byte(i)}, 12)
		s.Data[entry] = gcm.Seal(nonce, nonce, []byte("of "+entry), nil)
	}
	got, err := invite.DownloadCertificates(t.Context(), newCluster(t, s), key)
	if err != nil {
		t.Fatal(err)
	}
	if string(got["pki/etcd/ca.key"]) != "of etcd-ca.key" || string(got["pki/sa.pub"]) != "of sa.pub" || len(got) != len(s.Data) {
		t.Errorf("got %q", got)
	}
}

// TestUploadEndsWithAToken: the garbage collector removes the Secret with the token that owns it.
func TestUploadEndsWithAToken(t *testing.T) {
	c := newCluster(t)
	s := upload(t, c, newKey(t), sharedFiles())
	list := tokens(t, c)
	if len(list) != 1 || list[0].Expires.IsZero() {
		t.Fatalf("tokens %+v", list)
	}
	owner, err := c.CoreV1().Secrets("kube-system").Get(t.Context(), "bootstrap-token-"+list[0].ID, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if o := s.OwnerReferences; len(o) != 1 || o[0].Name != owner.Name || o[0].UID != owner.UID || o[0].Kind != "Secret" {
		t.Errorf("owned by %+v", o)
	}
	role, err := c.RbacV1().Roles("kube-system").Get(t.Context(), "kubeadm:kubeadm-certs", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if r := role.Rules; len(r) != 1 || !slices.Equal(r[0].ResourceNames, []string{"kubeadm-certs"}) || !slices.Equal(r[0].Verbs, []string{"get"}) {
		t.Errorf("allowed is %+v", r)
	}
	upload(t, c, newKey(t), sharedFiles()) // again, over what is there
}

func TestUploadFails(t *testing.T) {
	files := sharedFiles()
	delete(files, "pki/etcd/ca.key")
	c := newCluster(t)
	if err := invite.UploadCertificates(t.Context(), c, newKey(t), false, reader(files)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v", err)
	}
	if len(tokens(t, c)) != 0 {
		t.Error("made a token for nothing")
	}
}

func TestDownloadFails(t *testing.T) {
	key := newKey(t)
	whole := upload(t, newCluster(t), key, sharedFiles())
	changed := func(change func(map[string][]byte)) *corev1.Secret {
		s := whole.DeepCopy()
		change(s.Data)
		return s
	}
	for name, tt := range map[string]struct {
		secret *corev1.Secret
		key    invite.Key
		id     string
	}{
		"wrong key":     {whole, newKey(t), "certificate-key-wrong"},
		"missing entry": {changed(func(d map[string][]byte) { delete(d, "sa.key") }), key, "certificates-not-uploaded"},
		"changed entry": {changed(func(d map[string][]byte) { d["ca.key"][20] ^= 1 }), key, "certificate-key-wrong"},
		"short entry":   {changed(func(d map[string][]byte) { d["ca.key"] = d["ca.key"][:5] }), key, "certificate-key-wrong"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := invite.DownloadCertificates(t.Context(), newCluster(t, tt.secret), tt.key)
			if got != nil {
				t.Errorf("gave %q", got)
			}
			wantFaults(t, err, tt.id)
			if strings.Contains(err.Error(), tt.key.Reveal()) {
				t.Error("the key is in the error")
			}
		})
	}
	_, err := invite.DownloadCertificates(t.Context(), newCluster(t), key)
	wantFaults(t, err, "certificates-not-uploaded")
}

func TestKeyIsNotPrinted(t *testing.T) {
	key := newKey(t)
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x"} {
		text := fmt.Sprintf(verb, key) + fmt.Sprintf(verb, struct{ Key invite.Key }{key})
		if strings.Contains(text, key.Reveal()) || strings.Contains(text, key.Reveal()[:8]) {
			t.Errorf("%s prints %s", verb, text)
		}
	}
}

func FuzzParseKey(f *testing.F) {
	f.Add(strings.Repeat("0a", 32))
	f.Add(" " + strings.Repeat("0A", 32) + "\n")
	f.Add(strings.Repeat("0a", 31))
	f.Add("")
	f.Add(strings.Repeat("zz", 32))
	f.Fuzz(func(t *testing.T, text string) {
		key, err := invite.ParseKey(text)
		trimmed := strings.ToLower(strings.TrimSpace(text))
		_, herr := hex.DecodeString(trimmed)
		if valid := herr == nil && len(trimmed) == 64; valid != (err == nil) {
			t.Fatalf("%q: %v", text, err)
		}
		if err != nil {
			wantFaults(t, err, "certificate-key-invalid")
			if !key.IsZero() || len(trimmed) > 20 && strings.Contains(err.Error(), trimmed) {
				t.Errorf("%q: %v, %v", text, key, err)
			}
			return
		}
		if key.IsZero() || key.Reveal() != trimmed {
			t.Errorf("%q became %q", text, key.Reveal())
		}
	})
}
