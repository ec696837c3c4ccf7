package local

import (
	"context"
	"errors"
	"os"
	"path/filepath"
)

// restoreHost puts settings back that nobody uses any more. Before that it runs first, under the
// host's lock as well.
func (p *Provider) restoreHost(ctx context.Context, first func() error) error {
	unlock, err := p.lockHost(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	if err := first(); err != nil {
		return err
	}
	if err := p.restoreSettings(); err != nil {
		return err
	}
	return p.tidy()
}

func (p *Provider) restoreSettings() error {
	s, err := p.loadHost()
	if err != nil || len(s.Settings) == 0 {
		return err
	}
	users, err := p.users()
	if err != nil {
		return err
	}
	own, err := p.networks()
	if err != nil {
		return err
	}
	var kept []setting
	var errs []error
	for _, w := range s.Settings {
		// Others may use it whose machines another state directory keeps. What has its old value is then theirs alone.
		if users[w.User] && (len(own) > 0 || !w.isOld()) {
			kept = append(kept, w)
			continue
		}
		errs = append(errs, w.restore())
	}
	if len(kept) == 0 {
		return errors.Join(append(errs, os.Remove(p.hostFile()))...)
	}
	s.Settings = kept
	return errors.Join(append(errs, writeState(p.hostFile(), s))...)
}

// tidy removes directories that only networks and machines needed, after the last network.
func (p *Provider) tidy() error {
	networks, err := p.networks()
	if err != nil || len(networks) > 0 {
		return err
	}
	p.dropLock("host")
	removeEmpty(p.lockDir(), p.runc.Root, p.cfg.RunDir, filepath.Join(p.cfg.StateDir, "clusters"), p.cfg.StateDir)
	return nil
}

func (w setting) isOld() bool {
	now, err := readSysctl(w.Key)
	return err == nil && now == w.Old
}

// restore leaves a value alone that somebody else has set since.
func (w setting) restore() error {
	now, err := readSysctl(w.Key)
	if err != nil || now == w.Old || w.Set != "" && now != w.Set {
		return err
	}
	return writeSysctl(w.Key, w.Old)
}

func (p *Provider) users() (map[user]bool, error) {
	others, err := anyMachines()
	if err != nil {
		return nil, err
	}
	users := map[user]bool{userMachines: others}
	clusters, err := p.clusters()
	if err != nil {
		return nil, err
	}
	for _, c := range clusters {
		names, err := p.machineNames(c)
		if err != nil {
			return nil, err
		}
		n, err := p.loadNetwork(c)
		if err != nil {
			return nil, err
		}
		users[userMachines] = users[userMachines] || len(names) > 0
		users[userEgress] = users[userEgress] || n != nil && n.Network.Egress
	}
	return users, nil
}

func (p *Provider) hostFile() string { return filepath.Join(p.cfg.StateDir, "host.json") }

func (p *Provider) loadHost() (*hostState, error) {
	s := &hostState{Version: stateVersion}
	_, err := readState(p.hostFile(), s, &s.Version)
	return s, err
}
