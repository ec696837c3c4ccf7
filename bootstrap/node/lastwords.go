package node

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// podLogs are the logs of static pods, by component and node.
const podLogs = "/var/log/pods/kube-system_%s-%s_*/%s/*.log"

// askJournal is how often the kubelet's log is asked for at most, which takes a program.
const askJournal = 3 * time.Second

// hopeless is that asking again is of no use.
type hopeless struct{ error }

// explained adds to what does not answer why its components ended: one that was given what it cannot take ends at once, again
// and again, and only its log says why. Of one that cannot even read its flags nothing more is to be hoped. Where the kubelet has
// run none of them, its own log may say why.
func (n *builder) explained(ask func(context.Context) error, components ...string) func(context.Context) error {
	began := time.Now() // what earlier runs have left does not count
	var asked time.Time
	kubelet := ""
	return func(ctx context.Context) error {
		err := ask(ctx)
		if err == nil {
			return nil
		}
		ran := false
		for _, c := range components {
			path := newest(fmt.Sprintf(podLogs, c, n.Node.Name, c), began)
			ran = ran || path != ""
			switch text := failureIn(path); {
			case strings.HasPrefix(text, flagError):
				return hopeless{fmt.Errorf("%s does not start: %s", c, text)}
			case text != "":
				err = fmt.Errorf("%w; %s ended, and said: %s", err, c, text)
			}
		}
		if !ran && time.Since(asked) > askJournal {
			asked, kubelet = time.Now(), cmp.Or(kubeletFailure(ctx, began), kubelet)
		}
		if !ran && kubelet != "" {
			err = fmt.Errorf("%w; the kubelet ended, and said: %s", err, kubelet)
		}
		return err
	}
}

// kubeletFailure looks at so many lines because a kubelet that is started again prints its whole configuration, in hundreds.
func kubeletFailure(ctx context.Context, since time.Time) string {
	args := []string{"-u", "kubelet.service", "--since", fmt.Sprint("@", since.Unix()), "-n", "1000", "-o", "cat", "--no-pager"}
	out, err := exec.CommandContext(ctx, "journalctl", args...).Output()
	if err != nil {
		return "" // what is asked is why something else fails
	}
	return failure(string(out))
}

// newest is the file that was written to last, and since then.
func newest(pattern string, since time.Time) (path string) {
	all, _ := filepath.Glob(pattern) // a constant pattern
	for _, one := range all {
		if info, err := os.Stat(one); err == nil && info.ModTime().After(since) {
			path, since = one, info.ModTime()
		}
	}
	return path
}

func failureIn(path string) string { return failure(containerText(path)) }

// containerText is the end of a container's log, without what the runtime puts before each line: time, stream and tag.
func containerText(path string) string {
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
	var text strings.Builder
	for line := range strings.Lines(string(data)) {
		if fields := strings.SplitN(line, " ", 4); len(fields) == 4 {
			text.WriteString(fields[3])
		}
	}
	return text.String()
}

// flagError is how Kubernetes' programs begin what they say of flags that they cannot read.
const flagError = "Error: "

// failure is the last line by which one of Kubernetes' programs says why it ends, as far as it fits into a message.
func failure(text string) (out string) {
	const fits = 400
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if strings.HasPrefix(line, flagError) || strings.Contains(line, `"command failed" err=`) {
			out = line[:min(len(line), fits)]
		}
	}
	return out
}
