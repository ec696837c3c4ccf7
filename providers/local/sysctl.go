package local

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// user says who needs a changed setting of this computer. When the last one is gone, the
// setting gets its old value back.
type user string

const (
	userMachines user = "machines"
	userEgress   user = "egress"
)

// setting is one sysctl that machines or networks change. Set is empty for those that are not
// changed here but by what runs in a machine, whose /proc/sys is this computer's.
type setting struct {
	Key  string `json:"key"`
	Old  string `json:"old"`
	Set  string `json:"set,omitempty"`
	User user   `json:"user"`
}

// hostState is host.json: what this computer's settings were before.
type hostState struct {
	Version  int       `json:"version"`
	Settings []setting `json:"settings"`
}

// machineSettings are the limits that are too low for several machines, as all their services
// count as one user's, and the settings that kubelet and systemd are known to write.
func machineSettings() []setting {
	s := []setting{
		{Key: "fs/inotify/max_user_instances", Set: "8192", User: userMachines},
		{Key: "fs/inotify/max_user_watches", Set: "1048576", User: userMachines},
	}
	for _, key := range []string{
		"vm/overcommit_memory", "vm/panic_on_oom",
		"kernel/panic", "kernel/panic_on_oops", "kernel/pid_max", "kernel/sysrq",
		"kernel/keys/root_maxkeys", "kernel/keys/root_maxbytes",
		"kernel/core_pattern", "kernel/core_uses_pid",
		"fs/protected_hardlinks", "fs/protected_symlinks", "fs/protected_fifos", "fs/protected_regular",
	} {
		s = append(s, setting{Key: key, User: userMachines})
	}
	return s
}

const forwardingKey = "net/ipv4/ip_forward"

func forwarding() []setting {
	return []setting{{Key: forwardingKey, Set: "1", User: userEgress}}
}

// changeHost notes the old values first. Numbers are only ever raised.
func (p *Provider) changeHost(ctx context.Context, wanted []setting) error {
	unlock, err := p.lockHost(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	s, err := p.loadHost()
	if err != nil {
		return err
	}
	added := s.note(wanted)
	if len(added) == 0 {
		return nil
	}
	if err := writeState(p.hostFile(), s); err != nil {
		return err
	}
	for _, w := range added {
		if w.Set == "" {
			continue
		}
		if err := writeSysctl(w.Key, w.Set); err != nil {
			return err
		}
	}
	return nil
}

// note adds what is not noted yet and must change, or may be changed from inside a machine.
// What is noted but not in place any more is given back too, to be set again.
func (s *hostState) note(wanted []setting) []setting {
	var added []setting
	for _, w := range wanted {
		now, err := readSysctl(w.Key)
		if err != nil || w.Set != "" && atLeast(now, w.Set) {
			continue
		}
		if !s.has(w.Key) {
			w.Old = now
			s.Settings = append(s.Settings, w)
			added = append(added, w)
		} else if w.Set != "" {
			added = append(added, w)
		}
	}
	return added
}

func (s *hostState) has(key string) bool {
	for _, k := range s.Settings {
		if k.Key == key {
			return true
		}
	}
	return false
}

func atLeast(have, want string) bool {
	h, errH := strconv.ParseInt(have, 10, 64)
	w, errW := strconv.ParseInt(want, 10, 64)
	return errH == nil && errW == nil && h >= w
}

func readSysctl(key string) (string, error) {
	b, err := os.ReadFile(filepath.Join("/proc/sys", key))
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return "", err
		}
		return "", fmt.Errorf("read setting %q: %w", key, err)
	}
	return strings.TrimSpace(string(b)), nil
}

func writeSysctl(key, value string) error {
	if err := os.WriteFile(filepath.Join("/proc/sys", key), []byte(value), 0); err != nil {
		return fmt.Errorf("change setting %q: %w", key, err)
	}
	return nil
}
