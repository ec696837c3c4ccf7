package certs

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/clientcmd/api"

	"slipway.dev/slipway/internal/fault"
)

// CheckKubeconfig tells whether the file can be merged into, so that a cluster is not made whose
// kubeconfig then has no place. A missing file is fine.
func CheckKubeconfig(path string) error {
	_, err := readKubeconfig(path)
	return err
}

// MergeKubeconfig puts the current cluster, user and context of kubeconfig into the file at path,
// all three under the name context, and makes that context the current one.
func MergeKubeconfig(path, context string, kubeconfig []byte) error {
	added, err := clientcmd.Load(kubeconfig)
	if err != nil {
		return fmt.Errorf("read the kubeconfig of %q: %w", context, err)
	}
	from := added.Contexts[added.CurrentContext]
	if from == nil {
		return fmt.Errorf("read the kubeconfig of %q: it has no current context", context)
	}
	cluster, user := added.Clusters[from.Cluster], added.AuthInfos[from.AuthInfo]
	if cluster == nil || user == nil {
		return fmt.Errorf("read the kubeconfig of %q: its context names no cluster or no user", context)
	}
	return edit(path, func(c *api.Config) bool {
		c.Clusters[context], c.AuthInfos[context] = cluster, user
		c.Contexts[context] = &api.Context{Cluster: context, AuthInfo: context, Namespace: from.Namespace}
		c.CurrentContext = context
		return true
	})
}

// MoveKubeconfig gives a cluster that MergeKubeconfig put in another URL. One that is not there is left out.
func MoveKubeconfig(path, context, server string) error {
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return edit(path, func(c *api.Config) bool {
		there := c.Clusters[context]
		if there == nil || there.Server == server {
			return false
		}
		there.Server = server
		return true
	})
}

// RemoveKubeconfig takes out what MergeKubeconfig put in. A file that then holds nothing is removed.
func RemoveKubeconfig(path, context string) error {
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		return nil // its folder may be gone too
	}
	return edit(path, func(c *api.Config) bool {
		if c.Clusters[context] == nil && c.AuthInfos[context] == nil && c.Contexts[context] == nil {
			return false
		}
		delete(c.Clusters, context)
		delete(c.AuthInfos, context)
		delete(c.Contexts, context)
		if c.CurrentContext == context {
			c.CurrentContext = ""
		}
		return true
	})
}

func edit(path string, change func(*api.Config) bool) error {
	path, err := target(path)
	if err != nil {
		return err
	}
	if _, err := readKubeconfig(path); err != nil {
		return err
	}
	unlock, err := lock(path)
	if err != nil {
		return err
	}
	defer unlock()
	config, err := readKubeconfig(path) // again: somebody else may have held the lock
	if err != nil || !change(config) {
		return err
	}
	if isEmpty(config) {
		return os.Remove(path)
	}
	data, err := clientcmd.Write(*config)
	if err != nil {
		return fmt.Errorf("encode kubeconfig %q: %w", path, err)
	}
	return replace(path, data)
}

func isEmpty(c *api.Config) bool {
	return len(c.Clusters)+len(c.AuthInfos)+len(c.Contexts)+len(c.Extensions) == 0
}

func readKubeconfig(path string) (*api.Config, error) {
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return api.NewConfig(), nil
	}
	if err != nil {
		return nil, unreadable(path, err)
	}
	if len(bytes.TrimSpace(data)) == 0 {
		return api.NewConfig(), nil
	}
	config, err := clientcmd.Load(data)
	if err != nil {
		return nil, unreadable(path, err)
	}
	return config, nil
}

func unreadable(path string, err error) error {
	return fault.New("kubeconfig-unreadable", fmt.Sprintf("read kubeconfig %q", path), err,
		"repair or move that file, or set KUBECONFIG to another one; it has not been changed")
}

// target follows a symbolic link, so that the link stays and what it points to is replaced.
func target(path string) (string, error) {
	resolved, err := filepath.EvalSymlinks(path)
	if errors.Is(err, fs.ErrNotExist) {
		return path, nil
	}
	if err != nil {
		return "", unreadable(path, err)
	}
	return resolved, nil
}
