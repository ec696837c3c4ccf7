package cri

import (
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

func cgroupV2() bool {
	var st unix.Statfs_t
	return unix.Statfs("/sys/fs/cgroup", &st) == nil && st.Type == unix.CGROUP2_SUPER_MAGIC
}

// OOMScoreRestricted finds out whether a process here may lower its score, by trying: without CAP_SYS_RESOURCE
// the kernel refuses, and containerd then must not ask for it.
func OOMScoreRestricted() (bool, error) {
	const path = "/proc/self/oom_score_adj"
	text, err := os.ReadFile(path)
	if err != nil {
		return false, fmt.Errorf("read the OOM score: %w", err)
	}
	score, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		return false, fmt.Errorf("read the OOM score: %w", err)
	}
	// Lower than any score before: down to the lowest ever had, a process may go without the capability.
	if err := os.WriteFile(path, []byte("-1000"), 0o600); err != nil {
		return true, nil //nolint:nilerr // that is the answer
	}
	return false, os.WriteFile(path, []byte(strconv.Itoa(score)), 0o600)
}
