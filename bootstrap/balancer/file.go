package balancer

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"

	"github.com/google/renameio/v2"
)

// fileVersion is the version of the file's format.
const fileVersion = 1

type file struct {
	Version int      `json:"v"`
	Servers []string `json:"servers"`
}

// ReadServers reads the servers, each as host:port, that were written last.
func ReadServers(path string) ([]string, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var f file
	if err := json.Unmarshal(data, &f); err != nil {
		return nil, fmt.Errorf("read %q: %w", path, err)
	}
	if f.Version != fileVersion {
		return nil, fmt.Errorf("read %q: it has version %d, this program knows %d", path, f.Version, fileVersion)
	}
	if err := validate(f.Servers); err != nil {
		return nil, fmt.Errorf("read %q: %w", path, err)
	}
	return f.Servers, nil
}

// WriteServers replaces the file at path, at once and as a whole. A list that ReadServers would refuse is not written.
func WriteServers(path string, servers []string) error {
	if err := validate(servers); err != nil {
		return fmt.Errorf("write %q: %w", path, err)
	}
	data, err := json.Marshal(file{Version: fileVersion, Servers: servers})
	if err == nil {
		err = renameio.WriteFile(path, append(data, '\n'), 0o644, renameio.WithTempDir(filepath.Dir(path)))
	}
	if err != nil {
		return fmt.Errorf("write %q: %w", path, err)
	}
	return nil
}

func validate(servers []string) error {
	if len(servers) == 0 {
		return errors.New("there is no server in the list")
	}
	for _, s := range servers {
		if host, port, err := net.SplitHostPort(s); err != nil || host == "" || port == "" {
			return fmt.Errorf("%q is not a host and a port", s)
		}
	}
	return nil
}
