package local

import (
	"bufio"
	"fmt"
	"os"
	"strconv"
	"strings"
)

// capabilityNames are in the order of their numbers (linux/capability.h).
const capabilityNames = "CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID SETPCAP " +
	"LINUX_IMMUTABLE NET_BIND_SERVICE NET_BROADCAST NET_ADMIN NET_RAW IPC_LOCK IPC_OWNER SYS_MODULE " +
	"SYS_RAWIO SYS_CHROOT SYS_PTRACE SYS_PACCT SYS_ADMIN SYS_BOOT SYS_NICE SYS_RESOURCE SYS_TIME " +
	"SYS_TTY_CONFIG MKNOD LEASE AUDIT_WRITE AUDIT_CONTROL SETFCAP MAC_OVERRIDE MAC_ADMIN SYSLOG " +
	"WAKE_ALARM BLOCK_SUSPEND AUDIT_READ PERFMON BPF CHECKPOINT_RESTORE"

// ownCapabilities lists what this process may do: asking for more than that would fail, and a
// computer that is a container itself often lacks some.
func ownCapabilities() ([]string, error) {
	mask, err := capabilityMask("CapBnd:")
	if err != nil {
		return nil, err
	}
	permitted, err := capabilityMask("CapPrm:")
	if err != nil {
		return nil, err
	}
	var out []string
	for i, name := range strings.Fields(capabilityNames) {
		if mask&permitted&(1<<i) != 0 {
			out = append(out, "CAP_"+name)
		}
	}
	return out, nil
}

func capabilityMask(field string) (uint64, error) {
	f, err := os.Open("/proc/self/status")
	if err != nil {
		return 0, fmt.Errorf("read own capabilities: %w", err)
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		if value, ok := strings.CutPrefix(lines.Text(), field); ok {
			return strconv.ParseUint(strings.TrimSpace(value), 16, 64)
		}
	}
	return 0, fmt.Errorf("read own capabilities: no %s in the status of this process", field)
}
