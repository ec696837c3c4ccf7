package doctor

import (
	"context"
	"errors"
	"fmt"

	"github.com/prometheus/procfs"
)

// The kubelet evicts pods with less than lowMemory. Stalls are the share of ten seconds in which nothing could go on for want
// of memory: https://docs.kernel.org/accounting/psi.html
const (
	lowMemory  = 100 * megabyte
	littleFree = 5 // percent
	manyStalls = 10
)

func memory(_ context.Context, h *Host) []Finding {
	proc, err := procfs.NewFS(h.path("/proc"))
	var info procfs.Meminfo
	if err == nil {
		info, err = proc.Meminfo()
	}
	if err == nil && (info.MemAvailableBytes == nil || info.MemTotalBytes == nil) {
		err = errors.New("/proc/meminfo does not say it")
	}
	if err != nil {
		return []Finding{warning("it cannot be found out how much memory is left").because(err)}
	}
	free, all := *info.MemAvailableBytes, *info.MemTotalBytes
	left := fmt.Sprintf("%d MB of %d MB of memory are free", free/megabyte, all/megabyte)
	out := []Finding{ok("%s", left)}
	switch {
	case free < lowMemory:
		out = []Finding{problem("only %s", left).why("the kubelet evicts pods, or the kernel ends processes")}
	case free*100 < all*littleFree:
		out = []Finding{warning("only %s", left)}
	}
	if p, err := proc.PSIStatsForResource("memory"); err == nil && p.Full != nil && p.Full.Avg10 > manyStalls { // not all kernels say it
		out = append(out, warning("processes wait for memory %.0f %% of the time", p.Full.Avg10))
	}
	return out
}
