package local

import (
	"crypto/ed25519"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/google/renameio/v2"
	"golang.org/x/crypto/ssh"
)

// hostKey is an sshd's key pair as its files are.
type hostKey struct{ private, public []byte }

// ensureHostKey keeps the key of a machine that is started again.
func ensureHostKey(h home) (hostKey, error) {
	private, err := os.ReadFile(h.key())
	if errors.Is(err, fs.ErrNotExist) {
		if private, err = newHostKey(); err == nil {
			err = renameio.WriteFile(h.key(), private, 0o600, renameio.WithTempDir(filepath.Dir(h.key())))
		}
	}
	if err != nil {
		return hostKey{}, fmt.Errorf("make ssh host key: %w", err)
	}
	public, err := publicKey(private)
	if err != nil {
		return hostKey{}, err
	}
	return hostKey{private, ssh.MarshalAuthorizedKey(public)}, nil
}

func newHostKey() ([]byte, error) {
	_, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		return nil, err
	}
	block, err := ssh.MarshalPrivateKey(key, "")
	if err != nil {
		return nil, err
	}
	return pem.EncodeToMemory(block), nil
}

func publicKey(private []byte) (ssh.PublicKey, error) {
	signer, err := ssh.ParsePrivateKey(private)
	if err != nil {
		return nil, fmt.Errorf("read ssh host key: %w", err)
	}
	return signer.PublicKey(), nil
}

// readHostKey gives nil when the machine has none yet.
func readHostKey(machineHome string) (ssh.PublicKey, error) {
	private, err := os.ReadFile(home(machineHome).key())
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read ssh host key: %w", err)
	}
	return publicKey(private)
}
