package discovery

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/clientcmd/api"

	"slipway.dev/slipway/internal/fault"
)

// FromFile gives the cluster of a discovery file, a kubeconfig with one cluster, once its API answers over TLS verified
// by the authority in the file. Until ctx ends it waits for what can heal, and tells progress, which may be nil, about
// it. The credentials are those of the file's current context, with the files that they name read in; nil if it has none.
func FromFile(ctx context.Context, path string, progress func(string)) (*Cluster, *api.AuthInfo, error) {
	invalid := func(err error) error {
		return fault.New("discovery-file-invalid", fmt.Sprintf("read the discovery file %q", path), err,
			"give a kubeconfig with one cluster, its https URL and its certificate authority")
	}
	config, err := loadFile(path)
	if err != nil {
		return nil, nil, invalid(err)
	}
	cluster, bundle, err := onlyCluster(config)
	if err != nil {
		return nil, nil, invalid(err)
	}
	user, err := credentials(config)
	if err != nil {
		return nil, nil, invalid(err)
	}
	base, err := url.Parse(cluster.Server)
	if err != nil {
		return nil, nil, invalid(err)
	}
	e := endpoint{base}
	a, err := poll(ctx, progress, func(ctx context.Context) (answer, error) {
		a, err := e.ask(ctx, verifying(bundle))
		if err == nil {
			_, err = e.object(a) // that it shows no cluster-info to strangers is fine: the file says it all
		}
		return a, err
	})
	if err != nil {
		return nil, nil, err
	}
	cluster.ClockSkew = a.skew()
	return cluster, user, nil
}

func loadFile(path string) (*api.Config, error) {
	path, err := filepath.Abs(path) // what the file names lies relative to it
	if err != nil {
		return nil, err
	}
	config, err := clientcmd.LoadFromFile(path)
	if err != nil {
		return nil, err
	}
	if err := clientcmd.ResolveLocalPaths(config); err != nil {
		return nil, err
	}
	if err := clientcmd.Validate(*config); err != nil {
		return nil, err
	}
	for _, c := range config.Clusters {
		if c.InsecureSkipTLSVerify {
			return nil, errors.New("it says not to verify TLS, so it proves nothing about the cluster")
		}
	}
	return config, api.FlattenConfig(config)
}

// credentials gives the user of the current context, if it has anything to prove itself with.
func credentials(config *api.Config) (*api.AuthInfo, error) {
	current := config.Contexts[config.CurrentContext]
	if current == nil || config.AuthInfos[current.AuthInfo] == nil {
		return nil, nil
	}
	user := config.AuthInfos[current.AuthInfo]
	if user.Token == "" && user.TokenFile != "" {
		token, err := os.ReadFile(user.TokenFile)
		if err != nil {
			return nil, err
		}
		user.Token = strings.TrimSpace(string(token))
	}
	user.TokenFile = ""
	if !canAuthenticate(user) {
		return nil, nil
	}
	return user, nil
}

func canAuthenticate(u *api.AuthInfo) bool {
	return u.Token != "" || u.Username != "" && u.Password != "" || u.Exec != nil || u.AuthProvider != nil ||
		len(u.ClientCertificateData) > 0 && len(u.ClientKeyData) > 0
}
