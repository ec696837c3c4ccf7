package node

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"slipway.dev/slipway/internal/fault"
)

// podLogs are the logs of static pods, by component and node.
const podLogs = "/var/log/pods/kube-system_%s-%s_*/%s/*.log"

// withLastWords adds to a fault what components said last: one that was given what it cannot take ends at once, again and
// again, and only there it says why. Where the kubelet has not run them, it has the word.
func (n *builder) withLastWords(ctx context.Context, err error, components ...string) error {
	var f *fault.Error
	if !errors.As(err, &f) {
		return err
	}
	ran := false
	for _, c := range components {
		if text := lastLine(newest(fmt.Sprintf(podLogs, c, n.Node.Name, c))); text != "" {
			ran = true
			f.Err = fmt.Errorf("%w; %s said last: %s", f.Err, c, text)
		}
	}
	if !ran {
		args := []string{"-u", "kubelet.service", "-n", "20", "-o", "cat", "--no-pager"}
		out, jerr := exec.CommandContext(context.WithoutCancel(ctx), "journalctl", args...).Output()
		if text := lastWord(out); jerr == nil && text != "" {
			f.Err = fmt.Errorf("%w; the kubelet said last: %s", f.Err, text)
		}
	}
	return err
}

func newest(pattern string) (path string) {
	all, _ := filepath.Glob(pattern) // a constant pattern
	var last os.FileInfo
	for _, one := range all {
		if info, err := os.Stat(one); err == nil && (last == nil || info.ModTime().After(last.ModTime())) {
			path, last = one, info
		}
	}
	return path
}

// lastLine is that of a container's log, without what the runtime puts before each: time, stream and tag.
func lastLine(path string) string {
	const enough = 16 << 10
	f, err := os.Open(path)
	if err != nil {
		return ""
	}
	defer f.Close()
	if _, err := f.Seek(-enough, io.SeekEnd); err != nil {
		_, _ = f.Seek(0, io.SeekStart) // it is shorter
	}
	data, err := io.ReadAll(io.LimitReader(f, enough))
	if err != nil {
		return ""
	}
	var text bytes.Buffer
	for line := range strings.Lines(string(data)) {
		if fields := strings.SplitN(line, " ", 4); len(fields) == 4 {
			text.WriteString(fields[3])
		}
	}
	return lastWord(text.Bytes())
}

// lastWord is the last line that tells of an error, or else the last one, as far as it fits into a message.
func lastWord(text []byte) string {
	const fits = 400
	last, failure := "", ""
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSpace(line)
		if line == "" {
			continue
		}
		last = line
		if strings.Contains(line, "command failed") || strings.HasPrefix(line, "Error:") {
			failure = line
		}
	}
	if failure != "" {
		last = failure
	}
	return last[:min(len(last), fits)]
}
